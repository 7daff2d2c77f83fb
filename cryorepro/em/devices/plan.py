"""How much the expectation step holds at once."""

from __future__ import annotations

from dataclasses import dataclass, replace

# Pixels of images that are prepared together: a fixed number, on which no bits depend.
PIXELS_TOGETHER = {"cpu": 1 << 22, "cuda": 1 << 25}
_LEAST_TABLE_BYTES = 1 << 26
_LEAST_HELD_BYTES = 1 << 24
_LEAST_BLOCK = 8


@dataclass(frozen=True)
class Plan:
    """Sizes of what is in memory together; the defaults suit the caches of a CPU.

    Attributes:
        block_particles: particles whose images are prepared together.
        pixels_together: pixels of those worked on at once.
        images_per_block, scores_per_block: images of the coarse pass that are scored together, and their scores.
        rows_per_tile: slices multiplied at once there.
        numbers_per_batch: numbers of the slices gathered at once in the fine pass.
        numbers_at_most: the same, where a single particle needs more; its rows are taken some after others then.
        table_bytes: fine slices held at once; more are made in several rounds.
        held_bytes: sums per orientation held before they are spread over the grids.
        sample_bytes: significant samples kept between the passes; beyond that the fine pass follows in waves.
        grids_apart: the classes' grids stay on the CPU, and one at a time is on the device; for a GPU alone.
        exact: sums are kept so that their bits do not depend on order, threads, processes and chunks.
    """

    block_particles: int = 250
    pixels_together: int = PIXELS_TOGETHER["cpu"]
    images_per_block: int = 16
    scores_per_block: int = 8_000_000
    rows_per_tile: int = 1152
    numbers_per_batch: int = 1 << 18
    numbers_at_most: int = 1 << 21
    table_bytes: int = 1 << 31
    held_bytes: int = 1 << 28
    sample_bytes: int = 1 << 30
    grids_apart: bool = False
    exact: bool = False

    def smaller(self) -> Plan | None:
        """The plan with half of what may be halved; None when there is no less.

        An exact plan keeps what the bits of a result depend on.
        """
        table = max(_LEAST_TABLE_BYTES, self.table_bytes // 2)
        if self.exact:
            return None if table == self.table_bytes else replace(self, table_bytes=table)
        other = replace(
            self,
            block_particles=max(_LEAST_BLOCK, self.block_particles // 2),
            images_per_block=max(1, self.images_per_block // 2),
            scores_per_block=self.scores_per_block // 2,
            numbers_per_batch=max(1 << 16, self.numbers_per_batch // 2),
            numbers_at_most=max(1 << 18, self.numbers_at_most // 2),
            table_bytes=table,
            held_bytes=max(_LEAST_HELD_BYTES, self.held_bytes // 2),
        )
        return None if self.block_particles <= _LEAST_BLOCK and table == self.table_bytes else other

"""The device a program runs on and the processes it shares its work with."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from cryorepro.em.devices.launch import LAUNCHED, launch
from cryorepro.em.devices.rendezvous import place_in
from cryorepro.model.stage import StageRequest
from cryorepro_engines.programs._main import run_program

if TYPE_CHECKING:
    import torch

    from cryorepro.em.devices.ranks import Ranks


def run_shared_program(work: Callable[[StageRequest], None]) -> NoReturn:
    """`run_program`, in as many processes as the request asks for.

    They are started here unless torchrun or srun has started them: then this process is one of theirs.
    """

    def shared(request: StageRequest) -> None:
        if request.processes > 1 and place_in(os.environ) is None:
            sys.exit(launch([sys.executable, *sys.orig_argv[1:]], request.processes))
        work(request)

    run_program(shared)


@contextmanager
def placed(request: StageRequest) -> Iterator[tuple[torch.device, Ranks, int]]:
    """The device of this process, all processes, and how many workers this one may have on the CPU.

    Threads are those of a node: its processes share them.

    Raises:
        InputError: the device is not there, or the environment contradicts itself.
    """
    from cryorepro.em.devices.choice import chosen_device, repeat_exactly
    from cryorepro.em.devices.ranks import joined
    from cryorepro.em.parallel import end_with_parent

    if LAUNCHED in os.environ:
        end_with_parent()
    place = place_in(os.environ)
    device = chosen_device(request.device, f"stage {request.stage}", place.local_rank if place else 0)
    if request.deterministic:
        repeat_exactly(device)
    with joined(place, device) as ranks:
        if ranks.first and (ranks.size > 1 or device.type != "cpu"):
            print(f"{ranks.size} process(es), device {device}", flush=True)
        yield device, ranks, max(1, request.threads // ranks.local_size)

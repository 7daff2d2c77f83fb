"""``python -m cryorepro`` is the ``cryorepro`` command."""

from cryorepro.cli.main import run

run()

"""The paper broker's book outlives its process, whenever that is killed."""

import signal
import subprocess
import sys
from decimal import Decimal
from itertools import count
from pathlib import Path

from tests.broker_worlds import GOLD, PaperWorld

_CHILD = """
import sys
from itertools import count
from pathlib import Path
from decimal import Decimal
from tests.broker_worlds import PaperWorld

world = PaperWorld(Path(sys.argv[1]))
world.move(72_000)
for number in count(int(sys.argv[2])):
    placed = world.broker.place(world.request(units=1, client_order_id=f"a-{number}"))
    print(number, placed, flush=True)
"""


def test_what_was_answered_is_there_after_a_kill_and_a_repeat_changes_nothing(tmp_path: Path) -> None:
    answered: dict[int, str] = {}
    for kill_after in (1, 7, 20):
        answered |= killed_after(kill_after, tmp_path, max(answered, default=-1) + 1)
    world = PaperWorld(tmp_path)
    orders, fills = world.broker.orders(), world.broker.fills()
    (position,) = world.broker.positions()
    booked = {order.client_order_id: order.broker_order_id for order in orders}
    assert all(booked[f"a-{number}"] == placed for number, placed in answered.items())
    # One more at each kill at most: kept, and not answered any more.
    assert len(answered) <= len(booked) <= len(answered) + 3
    assert position.quantity == len(fills) == len(orders)
    for number, placed in answered.items():
        assert world.broker.place(world.request(units=1, client_order_id=f"a-{number}")) == placed
    assert world.broker.positions()[0].quantity == Decimal(len(booked))
    assert world.broker.quote(GOLD, "MCX").last == 72_000
    world.close()


def killed_after(orders: int, folder: Path, first: int) -> dict[int, str]:
    """Run a process that places orders, kill it after so many answers, and return what it had been answered."""
    command = [sys.executable, "-c", _CHILD, str(folder), str(first)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        answered = {}
        for _, line in zip(count(1), child.stdout, strict=False):
            number, placed = line.split()
            answered[int(number)] = placed
            if len(answered) == orders:
                break
        child.send_signal(signal.SIGKILL)
        rest = [line.split() for line in child.stdout if line.endswith("\n")]
    return answered | {int(fields[0]): fields[1] for fields in rest}

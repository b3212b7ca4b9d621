"""A progress bar for long work, where there is somebody to look at it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(name: str, total: int | None, *, visible: bool) -> Iterator[Callable[[int], None]]:
    """A bar with rate and time left (`total` None: nobody knows) on stderr, where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        """Inputs a second."""

        def render(self, task: Task) -> Text:
            """The rate so far."""
            return Text(f"{task.finished_speed or task.speed or 0:,.0f}/s")

    console = Console(stderr=True)
    if not (visible and console.is_terminal):
        yield lambda _: None
        return
    columns = (name, BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(name, total=total)
        yield lambda count: bar.advance(task, count)

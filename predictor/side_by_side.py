"""Runs tasks in processes of their own, with news of each while they run."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from functools import partial
from typing import Any, TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")
Work = Callable[[Task, Callable[[Any], object]], Result]
"""Does a task; what it gives its second argument is news, told to whoever asked for the work."""


def side_by_side(
    work: Work[Task, Result],
    tasks: Sequence[Task],
    *,
    jobs: int,
    advance: Callable[[Task, Any], object],
) -> tuple[Result, ...]:
    """The results of all tasks in their order, `jobs` at a time; one at a time needs no process.

    `advance` is called here with a task and a piece of its news. With several jobs, work, tasks, news and
    results must be picklable. An error of a task ends the others that have not begun.
    """
    if jobs == 1:
        return tuple(work(task, partial(advance, task)) for task in tasks)
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(jobs, mp_context=context) as pool:
        news = manager.Queue()
        futures = [
            pool.submit(_work, work, task, number, news) for number, task in enumerate(tasks)
        ]
        waiting: set[Future[Result]] = set(futures)
        while waiting:
            done, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
            while not news.empty():
                number, told = news.get()
                advance(tasks[number], told)
            for future in done:
                if future.exception() is not None:
                    pool.shutdown(cancel_futures=True)
                future.result()
        return tuple(future.result() for future in futures)


def _work(work: Work[Task, Result], task: Task, number: int, news: Any) -> Result:
    return work(task, lambda told: news.put((number, told)))

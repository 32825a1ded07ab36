"""The driver of a run: hands stages to workers, keeps what comes back, and goes on whatever happens to one of them."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Generator, Iterator
from dataclasses import replace

from cat_bench.benchmark.errors import RunError
from cat_bench.benchmark.execution.cell import end_failed, end_interrupted, end_ok, open_cell
from cat_bench.benchmark.execution.foreseen import foreseen
from cat_bench.benchmark.execution.schedule import Chain, Schedule
from cat_bench.benchmark.execution.stage import Making, Work, ready
from cat_bench.benchmark.execution.workers import executor as said
from cat_bench.benchmark.execution.workers.worker import verdict
from cat_bench.benchmark.planning import events
from cat_bench.benchmark.planning.plan import BASE, StagePlan
from cat_bench.benchmark.store.files import disk_trouble
from cat_bench.benchmark.text_to_image.references import place_references, references_ready

TRIES_AGAIN = 3  # of a stage whose worker was lost or had too little memory

Events = Iterator[events.Event]


class Driver:
    """One run's. `drive` is a generator of events; it returns how many cells are whole."""

    def __init__(self, work: Work, executor: said.Executor) -> None:
        self.work, self.plan, self.executor = work, work.plan, executor
        self.schedule = Schedule(work.plan)
        self._references = references_ready(work.plan)
        self._making: dict[int, tuple[Chain, Making] | None] = {}  # by worker; None: it makes the references
        self._unscored: list[tuple[Chain, Making]] = []  # all there, but what their scores compare with is not
        self._reference_tries = 0
        self._told = False
        self._size = 1
        self._whole = 0

    def drive(self) -> Generator[events.Event, None, int]:
        """Make everything. Raises RunError where no stage can be made: the disk, the models, no worker left."""
        try:
            while self.schedule.open:
                if self.executor.size != self._size:
                    self._size = self.executor.size
                    yield events.Workers(self._size)
                yield from self._hand_out()
                if self.schedule.open and not self._making and self.executor.free():
                    raise RuntimeError("workers are free and stages are left, but none of these can be begun")
                for worker, message in self.executor.messages() if self.schedule.open else ():
                    yield from self._hear(worker, message)
        except Exception:
            raise
        except BaseException:  # Ctrl-C, a signal, or a caller that has seen enough
            for chain in self.schedule.interrupted():
                assert chain.cell is not None
                end_interrupted(chain.cell, self.plan)
            raise
        return self._whole

    def _hand_out(self) -> Events:
        while free := self.executor.free():
            if not self._references and None not in self._making.values():
                self._making[free[0]] = None
                self.executor.start(free[0], said.Task())
                continue
            chain = self.schedule.next(self.executor.size)
            if chain is None:
                return
            stage = chain.stages[chain.at]
            try:
                yield from self._begin(chain, stage, free[0])
            except Exception as error:
                yield from self._break(chain, stage, error)

    def _begin(self, chain: Chain, stage: StagePlan, worker: int) -> Events:
        cell = chain.cell
        if cell is not None and not chain.begun:
            open_cell(cell)
            chain.begun = True
        if ready(stage):
            chain.at += 1
            yield self._ended(chain, stage, "ready", 0.0)
            yield from self._placed(chain, stage)
            return
        chain.busy = True
        of, count = (cell.cell, len(cell.stages)) if cell else (None, 1)
        yield events.StageBegun(of, stage.number, count, _concept(stage), chain.index, len(self.plan.cells), worker)
        making = Making(self.work, cell, stage)
        task = making.begin()
        if task is None:
            yield from self._made(chain, making)
        else:
            self._making[worker] = (chain, making)
            self.executor.start(worker, task)

    def _hear(self, worker: int, message: said.Message) -> Events:
        match message:
            case said.Line(text):
                yield events.Message(text)
            case said.Opened() if not self._told:
                self._told = True
                yield from map(events.Message, foreseen(self.plan, message))
            case said.Opened():
                pass
            case said.Note(logger, text, values):
                logging.getLogger(logger).warning(text, *values)
            case events.Learning() | events.Sampling():
                yield replace(message, worker=worker)
            case _:
                yield from self._hear_of_work(worker, message)

    def _hear_of_work(self, worker: int, message: said.Message) -> Events:
        making = self._making[worker] if isinstance(message, said.Files) else self._making.pop(worker)
        if making is None:
            yield from self._hear_of_references(message)
            return
        chain, stage = making[0], making[1].stage
        try:
            match message:
                case said.Files():
                    making[1].keep(message)
                case said.Done():
                    yield from self._made(*making)
                case said.Failed(trouble=str() as trouble):
                    raise RunError(trouble)
                case said.Failed() if message.status == "failed" or self.executor.size == 1:
                    yield from self._fail(chain, stage, message.status, message.reason, message.trace)
                case said.Failed() | said.Lost():
                    yield from self._again(chain, stage, message)
        except Exception as error:
            yield from self._break(chain, stage, error)

    def _hear_of_references(self, message: said.Message) -> Events:
        match message:
            case said.Files(files):
                place_references(self.plan, files)
                self._references = True
            case said.Done():
                yield from self._score_waiting()
            case said.Failed(trouble=str() as trouble):
                raise RunError(trouble)
            case said.Failed() | said.Lost():
                self._reference_tries += 1
                if isinstance(message, said.Failed) or self._reference_tries > TRIES_AGAIN:
                    raise RunError(f"the references cannot be embedded: {message.reason}")
                yield events.Message(f"references: {message.reason}; tried again")

    def _made(self, chain: Chain, making: Making) -> Events:
        """All but the scores is there; the chain may go on, and the scores follow once they can be computed."""
        chain.busy, chain.tries = False, 0
        chain.at += 1
        self._unscored.append((chain, making))
        yield from self._score_waiting()

    def _score_waiting(self) -> Events:
        waiting, self._unscored = self._unscored, []
        for chain, making in sorted(waiting, key=lambda pair: pair[0].index):  # the untouched backbone's first
            if not self._references or not (chain is self.schedule.base or self.schedule.base.ended):
                self._unscored.append((chain, making))
                continue
            try:
                origin = making.finish()
                yield self._ended(chain, making.stage, origin, making.seconds)
                yield from self._placed(chain, making.stage)
            except Exception as error:
                yield from self._break(chain, making.stage, error)

    def _ended(self, chain: Chain, stage: StagePlan, origin: events.Origin, seconds: float) -> events.StageEnded:
        of = chain.cell.cell if chain.cell else None
        return events.StageEnded(of, stage.number, _concept(stage), origin, seconds)

    def _placed(self, chain: Chain, stage: StagePlan) -> Events:
        if not self.schedule.place(chain, stage):
            return
        if chain.cell is not None:
            self._whole += 1
            yield end_ok(chain.cell, self.plan)
        else:
            yield from self._score_waiting()

    def _again(self, chain: Chain, stage: StagePlan, message: said.Failed | said.Lost) -> Events:
        chain.busy = False
        chain.tries += 1
        if chain.tries > TRIES_AGAIN:
            status = message.status if isinstance(message, said.Failed) else "failed"
            trace = message.trace if isinstance(message, said.Failed) else message.reason
            yield from self._fail(chain, stage, status, f"{message.reason} (tried {chain.tries} times)", trace)
        elif not chain.ended:
            name = f"{chain.cell.cell.path}/{stage.place.name}" if chain.cell else BASE
            yield events.Message(f"{name}: {message.reason}; tried again ({chain.tries} of {TRIES_AGAIN})")

    def _break(self, chain: Chain, stage: StagePlan, error: Exception) -> Events:
        """Something went wrong here, not in a worker. What the disk refuses no other stage could do either."""
        if isinstance(error, RunError) or disk_trouble(error, self.plan.folder):
            raise error
        yield from self._fail(chain, stage, *verdict(error), "".join(traceback.format_exception(error)))

    def _fail(self, chain: Chain, stage: StagePlan, status: events.Status, reason: str, trace: str) -> Events:
        """A stage cannot be made: the later ones of its cell are skipped, everything else goes on."""
        if chain.cell is None:
            raise RunError(f"the untouched backbone cannot be sampled, and everything is compared with it: {reason}")
        chain.busy = False
        if not chain.ended:
            chain.ended = True
            yield end_failed(chain.cell, self.plan, stage, status, reason, trace)


def _concept(stage: StagePlan) -> str:
    return stage.concept.id if stage.concept else BASE

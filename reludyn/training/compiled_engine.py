"""Gradient descent on the population risk by a compiled program.

The plain engine (`reludyn.training.engine`) says what descent is. Here nearly all iterations are
made by a program (`reludyn.training.programs`) that advances each replica until it must be looked
at more closely: at the end of a stretch, or where the loss that comes with the gradient, with its
rounding error, could be below the tolerance or is above the ceiling. From there the plain engine
goes on, so that events and results are as exact as its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from reludyn.dynamics.phases import Clocks
from reludyn.optim.gradient_descent import GradientDescent
from reludyn.risk import PopulationRisk
from reludyn.system.compiler import CannotCompile, varying
from reludyn.training.engine import Engine, State
from reludyn.training.programs import Form, compiled, form_of


class CompiledEngine(Engine):
    """The engine of `GradientDescent` on the population risk, in coordinates of the invariant
    subspace; there is no gradient tolerance."""

    risk: PopulationRisk
    optimizer: GradientDescent

    @torch.inference_mode()
    def advance(self, state: State, steps: int) -> State:
        """The state after `steps` further iterations of every replica that is still running."""
        running = state.running.nonzero().squeeze(-1)
        if len(running) == 0:
            return state
        part, end, engine = state.select(running), state.step + steps, self.select(running)
        if steps > 1:
            try:
                part = engine._swiftly(part, steps - 1, self._form(state))
            except CannotCompile:  # nothing has been changed yet
                return super().advance(state, steps)
        while len(behind := (part.running & (part.steps < end)).nonzero().squeeze(-1)):
            some = part.select(behind)
            left = end - int(some.steps.max())
            after = engine.select(behind)._descend(some, min(left, self.block(some)))
            part = part.put(behind, after)
        begin, t = engine.optimizer.since
        lr = engine.optimizer.sizes.lr
        time = t + lr * (part.steps.double() - begin)
        part = replace(
            part, time=time, step=end, clock_time=engine.optimizer.time(end, part.clock_time)
        )
        return state.put(running, part)

    def _form(self, state: State) -> Form:
        """Return the form of the whole batch: it stays the same when replicas stop."""
        R, k, m = state.student.W.shape
        return form_of(k, m, self.rule.A.shape[-2], R, self.risk.activation)

    def _swiftly(self, state: State, steps: int, form: Form) -> State:
        """At most so many iterations of replicas that are all running; those that stop or may stop
        have made fewer."""
        student, R = state.student, state.student.replicas
        program, begin = compiled(form), steps - 1
        whole = -(-R // form.padding) * form.padding
        copied = torch.arange(whole, device=student.W.device).clamp_max(R - 1)
        marks = self._marks(state, begin)[:, copied]
        marks[0, R:] = -1  # what is added for padding does not move
        batch = form.pack(student.map(lambda x: x[copied]), marks)
        split = [x.split(form.tile, axis) for x, axis in zip(batch, form.axes, strict=True)]
        done = []
        for *tile, numbers in zip(*split, self._numbers(copied, form.tile), strict=True):
            pairs = zip(tile, form.axes, strict=True)
            some = tuple(varying(x.contiguous(), axis) for x, axis in pairs)
            for _ in range(-(-(steps + 1) // form.substeps)):  # the last iterate is marked, too
                some = program(some, numbers)
            done.append(some)
        all_tiles = zip(zip(*done, strict=True), form.axes, strict=True)
        student, marks = form.unpack(tuple(torch.cat(x, axis) for x, axis in all_tiles))
        student, (left, align, growth, _) = student.map(lambda x: x[:R]), marks[:, :R]
        made = begin - left
        clocks = Clocks(
            _first(state.clocks.align, state.steps, begin - align),
            _first(state.clocks.growth, state.steps, begin - growth),
            state.clocks.converged,
        )
        evaluation = self.risk.evaluate(student)
        state = replace(state, student=student, steps=state.steps + made.long(), clocks=clocks)
        return self._checked(state, [student], [evaluation], [state.clock_time], new=0)

    def _marks(self, state: State, left: int) -> Tensor:
        """(4, R), see `reludyn.training.programs`."""
        ceiling, clocks = state.ceiling, state.clocks
        known = [torch.where(x >= 0, math.inf, -math.inf) for x in (clocks.align, clocks.growth)]
        begin = torch.full_like(ceiling, left)
        return torch.stack([begin, *(x.to(ceiling) for x in known), ceiling])

    def _numbers(self, replicas: Tensor, tile: int) -> Sequence[Tensor]:
        """For each tile of these replicas, see `reludyn.training.programs`."""
        sizes, A = self.optimizer.sizes, self.rule.A
        tolerance = torch.as_tensor(self.tolerance, dtype=torch.float64, device=A.device)
        floor = torch.where(tolerance > 0, tolerance + self.rounding, -math.inf)
        lr = (sizes.lr * sizes.train_hidden, sizes.output * sizes.train_output)
        first = [self.risk.zero_loss, floor, self.rule.grown, *lr]
        every = (*first, *A.flatten(-2).unbind(-1))
        numbers = [torch.as_tensor(x, dtype=A.dtype, device=A.device) for x in every]
        if not self.own:
            return [torch.stack(numbers)] * -(-len(replicas) // tile)
        R = max(x.numel() for x in numbers)
        of_each = torch.stack([x.expand(R) for x in numbers])[:, replicas]
        return [varying(x.contiguous(), 1) for x in of_each.split(tile, 1)]


def _first(clock: Tensor, steps: Tensor, mark: Tensor) -> Tensor:
    """The clock after a stretch that began at iteration `steps`, with a mark in it or not."""
    here = (mark >= 0) & mark.isfinite()
    return torch.where(here, steps + mark.where(here, 0.0).long(), clock)

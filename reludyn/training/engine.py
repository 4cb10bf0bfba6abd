"""The engine: advances all replicas many iterations between two looks, without host syncs."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from reludyn.dynamics.phases import Clocks, PhaseRule
from reludyn.network.notation import Evaluation, Gradient, PerReplica, of_replicas
from reludyn.network.student import ReLUStudent
from reludyn.numerics.nested import in_form_of, map_tensors
from reludyn.optim import Memory, UpdateRule
from reludyn.optim.gradient_descent import GradientDescent
from reludyn.risk import Batches, Risk
from reludyn.training.graphs import Repeated

DIVERGED = 1e6  # times the initial loss or |A|^2 / 2, whichever is larger
ROUNDING = 1e4  # times eps |A|^2 / 2: what the value that comes with a gradient may be off by
BLOCK = 2**21  # numbers of consecutive iterates and gradients that are kept until they are checked
LONGEST = 64  # iterations of a block
REPEATED = 8  # iterations of a CUDA graph
E = TypeVar("E", bound="Engine")


@dataclass(frozen=True)
class State:
    """R replicas after some iterations: every tensor lives on the device of the run."""

    student: ReLUStudent
    previous: ReLUStudent  # one iteration earlier; `student` itself where a replica did not move
    evaluation: Evaluation  # of the risk at `student`, or of the batch of this iteration
    step: int  # iterations made by the replicas that are running
    clock_time: PerReplica  # the time that these have reached
    memory: Memory  # of the update rule
    steps: Tensor  # (R,) iterations made by each replica
    time: Tensor  # (R,) the sum of their step sizes, t = mu step for a constant one; float64
    running: Tensor  # (R,) false once a replica has stopped: it no longer moves
    diverged: Tensor  # (R,)
    stationary: Tensor  # (R,)
    clocks: Clocks
    ceiling: Tensor  # (R,) the loss above which a replica counts as diverged

    def select(self, replicas: Tensor) -> State:
        """Return some of the replicas, by their indices."""
        parts = {name: map_tensors(lambda x: x[replicas], x) for name, x in vars(self).items()}
        return State(**parts)

    def put(self, replicas: Tensor, part: State) -> State:
        """Return the state with some replicas replaced, and the iteration and time of the part."""

        def change(new: Tensor, old: Tensor) -> Tensor:
            return old.index_copy(0, replicas, new)

        pairs = ((name, x, vars(self)[name]) for name, x in vars(part).items())
        return State(**{name: map_tensors(change, new, old) for name, new, old in pairs})


class Engine:
    """Descent on one risk by one update rule, with its stopping rule.

    A replica stops at the first iterate whose loss is below `tolerance` (0: never), or above its
    ceiling, or not a number, or whose gradient has a norm below `gradient_tolerance` (0: never).
    Every iterate is checked, a block of them at once after they have been made, so events are exact
    whatever the spacing of the looks: a replica that stopped within the block goes back to where it
    did. Where descent follows batches, the loss of the whole risk is compared with the tolerance
    every `batches.period` iterations.

    graphs: iterations are made by CUDA graphs, where the update rule is steady and the risk keeps
    nothing on the host.
    """

    def __init__(
        self,
        risk: Risk,
        optimizer: UpdateRule,
        rule: PhaseRule,
        tolerance: PerReplica,
        gradient_tolerance: float = 0.0,
        batches: Batches | None = None,
        graphs: bool = False,
    ) -> None:
        self.risk, self.optimizer, self.rule, self.batches = risk, optimizer, rule, batches
        self.tolerance, self.gradient_tolerance = tolerance, gradient_tolerance
        fixed = optimizer.steady and batches is None and risk.fixed
        self.repeated = Repeated(self._several) if graphs and fixed else None
        self.rounding = ROUNDING * torch.finfo(rule.A.dtype).eps * rule.zero_loss
        sizes = optimizer.sizes
        numbers = (tolerance, sizes.lr, sizes.output, rule.zero_loss)
        self.own = any(isinstance(x, Tensor) for x in numbers)  # some replicas have their own
        # whether no loss is compared with a tolerance
        self.never = not (tolerance.any() if isinstance(tolerance, Tensor) else tolerance)

    @torch.inference_mode()
    def start(self, student: ReLUStudent) -> State:
        """Iteration 0."""
        return self._start(student.map(torch.clone))  # a compiler tells inference tensors apart

    @torch.inference_mode()
    def resume(self, state: State) -> State:
        """A state that was saved, on the device of this engine."""
        device = self.rule.A.device
        memory = in_form_of(self.optimizer.memory(state.student), state.memory)
        state = replace(state, memory=memory)
        parts = {
            n: map_tensors(lambda x: x.to(device, copy=True), x) for n, x in vars(state).items()
        }
        return State(**parts)

    @property
    def can_part(self) -> bool:
        """Whether some replicas can be advanced without the others."""
        return self.optimizer.separable and self.batches is None

    def select(self: E, replicas: Tensor) -> E:
        """Return the engine of some replicas, by their indices; only if it can part."""
        part = copy(self)
        part.risk, part.rule = self.risk.select(replicas), self.rule.select(replicas)
        part.optimizer = self.optimizer.select(replicas)
        part.tolerance = of_replicas(self.tolerance, replicas)
        part.rounding = of_replicas(self.rounding, replicas)
        if self.repeated and (self.own or part.risk is not self.risk):
            part.repeated = Repeated(part._several)
        return part

    def with_lr(self: E, lr: Tensor) -> E:
        """With another step size for each replica, (R,), of gradient descent: both layers keep the
        ratio of theirs."""
        other, sizes = copy(self), self.optimizer.sizes
        output = None if sizes.output_lr is None else lr * (sizes.output_lr / sizes.lr)
        other.optimizer = GradientDescent(replace(sizes, lr=lr, output_lr=output))
        other.own = True
        if self.repeated:
            other.repeated = Repeated(other._several)
        return other

    def _start(self, student: ReLUStudent) -> State:
        R, device = student.replicas, student.W.device
        never = torch.full((R,), -1, device=device)
        no = torch.zeros(R, dtype=torch.bool, device=device)
        evaluation = self._evaluate(student, 0)
        state = State(
            student,
            student,
            evaluation,
            step=0,
            clock_time=0.0 * self.optimizer.sizes.lr,
            memory=self.optimizer.memory(student),
            steps=torch.zeros_like(never),
            time=torch.zeros(R, dtype=torch.float64, device=device),
            running=no.logical_not(),
            diverged=no,
            stationary=no,
            clocks=Clocks(never, never, never),
            ceiling=DIVERGED * evaluation.loss.clamp_min(self.rule.zero_loss),
        )
        return self._checked(state, [student], [evaluation], [state.clock_time], new=0)

    @torch.inference_mode()
    def advance(self, state: State, steps: int) -> State:
        """The state after `steps` further iterations of every replica that is still running.

        Where replicas do not depend on each other, those that have stopped cost nothing, and the
        others go in groups whose samples a cache holds.
        """
        if not self.can_part:
            return self._advance(state, steps)
        running, R = state.running.nonzero().squeeze(-1), len(state.running)
        if len(running) == 0:
            return state
        if len(running) == R <= self.risk.group:
            return self._advance(state, steps)
        after = state
        for group in running.split(self.risk.group):
            after = after.put(group, self.select(group)._advance(state.select(group), steps))
        return after

    def _advance(self, state: State, steps: int) -> State:
        """The same for all replicas, without waiting for the device."""
        block = self.block(state)
        for made in range(0, steps, block):
            state = self._descend(state, min(block, steps - made))
        return state

    def block(self, state: State) -> int:
        """Iterations whose iterates and gradients are kept until they are checked."""
        numbers = 2 * sum(layer.numel() for layer in state.student)
        return max(1, min(LONGEST, BLOCK // numbers))

    def _descend(self, state: State, steps: int) -> State:
        """A block of iterations."""
        iterates, evaluations, times = [state.student], [state.evaluation], [state.clock_time]
        step, end, memory = state.step, state.step + steps, state.memory
        while step < end:
            several = REPEATED if self.repeated and step + REPEATED <= end else 1
            for _ in range(several):
                step += 1
                times.append(self.optimizer.time(step, times[-1]))
            if self.repeated and several > 1:
                columns = self.repeated(*iterates[-1], *evaluations[-1].gradient)
                for W, V, loss, of_W, of_V in zip(*columns, strict=True):
                    iterates.append(ReLUStudent(W, V))
                    evaluations.append(Evaluation(loss, Gradient(of_W, of_V)))
            else:
                slope = evaluations[-1].gradient
                student, memory = self.optimizer.update(iterates[-1], slope, memory, step - 1)
                iterates.append(student)
                evaluations.append(self._evaluate(iterates[-1], step))
        state = replace(state, memory=memory)
        return self._checked(state, iterates, evaluations, times, new=1)

    def _several(self, W: Tensor, V: Tensor, of_W: Tensor, of_V: Tensor) -> tuple[Tensor, ...]:
        """REPEATED iterations from weights and their gradient: the weights, losses and gradients of
        all new iterates, stacked."""
        student, gradient, rows = ReLUStudent(W, V), Gradient(of_W, of_V), []
        for _ in range(REPEATED):
            student, _ = self.optimizer.update(student, gradient, (), 0)
            loss, gradient = self.risk.evaluate(student)
            rows.append((*student, loss, *gradient))
        return tuple(torch.stack(column) for column in zip(*rows, strict=True))

    def _evaluate(self, student: ReLUStudent, step: int) -> Evaluation:
        if self.batches is None:
            return self.risk.evaluate(student)
        return self.batches.evaluate(student, step)

    def _checked(
        self,
        state: State,
        iterates: Sequence[ReLUStudent],
        evaluations: Sequence[Evaluation],
        times: Sequence[PerReplica],
        new: int,
    ) -> State:
        """The state after b iterations, from that before and the b + 1 iterates from there on, with
        their times; those before `new` have been checked already. Each replica keeps the first
        iterate at which it has to stop."""
        b, device = len(iterates) - 1, state.steps.device
        path = ReLUStudent(*map(torch.stack, zip(*iterates, strict=True)))
        slopes = Gradient(*map(torch.stack, zip(*(e.gradient for e in evaluations), strict=True)))
        loss = torch.stack([evaluation.loss for evaluation in evaluations])  # (b + 1, R)

        diverged = (loss <= state.ceiling).logical_not()  # or NaN
        converged = self._converged(path, loss, state, new)
        stationary = self._stationary(slopes, loss) & (converged | diverged).logical_not()
        count = torch.arange(b + 1, device=device).unsqueeze(-1)
        stops = (converged | diverged | stationary) & (count >= new) & state.running
        stopped = stops.any(0)
        last = torch.where(stopped, stops.byte().argmax(0), torch.where(state.running, b, 0))
        made = (count >= new) & (count <= last)

        # one iteration earlier, if it has just moved
        before = torch.where(last == b, max(b - 1, 0), last)
        here = stops & (count == last)
        clock = _clock(times, state.time)
        return replace(
            state,
            student=path.map(lambda x: _pick(x, last)),
            previous=path.map(lambda x: _pick(x, before)),
            evaluation=Evaluation(_pick(loss, last), Gradient(*(_pick(x, last) for x in slopes))),
            step=state.step + b,
            clock_time=times[-1],
            steps=state.steps + last,
            time=torch.where(last > 0, _pick(clock, last), state.time),
            running=state.running & stopped.logical_not(),
            diverged=state.diverged | (here & diverged).any(0),
            stationary=state.stationary | (here & stationary).any(0),
            clocks=self.rule.tick(state.clocks, state.steps + count, path, made, converged),
        )

    def _converged(self, path: ReLUStudent, loss: Tensor, state: State, new: int) -> Tensor:
        """Whether each iterate (b + 1, R) from `state` on, number `new` being the first that
        counts, is below the tolerance."""
        below = torch.zeros_like(loss, dtype=torch.bool)
        if self.never:
            return below
        if self.batches is not None:
            for i in range(new, len(loss)):
                if (state.step + i) % self.batches.period == 0:
                    whole = self.risk.loss(ReLUStudent(path.W[i], path.V[i]))
                    below[i] = whole.total < self.tolerance
            return below
        if self.risk.exact:
            return loss < self.tolerance
        if loss.is_cuda:  # to choose some would be to wait for the device
            all_of_them = torch.arange(loss.shape[1], device=loss.device).repeat(len(loss))
            whole = self.risk.select(all_of_them).loss(path.map(lambda x: x.flatten(0, 1)))
            return whole.total.view_as(loss) < self.tolerance
        close = (loss < self.tolerance + self.rounding) & state.running
        near = close.nonzero(as_tuple=True)
        if len(near[0]):
            whole = self.risk.select(near[1]).loss(path.map(lambda x: x[near]))
            below[near] = whole.total < of_replicas(self.tolerance, near[1])
        return below

    def _stationary(self, gradient: Gradient, loss: Tensor) -> Tensor:
        if self.gradient_tolerance == 0:
            return torch.zeros_like(loss, dtype=torch.bool)
        return self.optimizer.sizes.norm(gradient) < self.gradient_tolerance


def _pick(x: Tensor, index: Tensor) -> Tensor:
    """Entry index (R,) along the first axis, another one for each replica: (b, R, ...) ->
    (R, ...)."""
    place = index.view(1, -1, *(1 for _ in x.shape[2:]))
    return x.gather(0, place.expand(1, *x.shape[1:])).squeeze(0)


def _clock(times: Sequence[PerReplica], like: Tensor) -> Tensor:
    """Times of b iterates, (b, R) like another time (R,)."""
    if any(isinstance(time, Tensor) for time in times):
        rows = (torch.as_tensor(t, dtype=like.dtype, device=like.device) for t in times)
        return torch.stack([time.expand_as(like) for time in rows])
    column = torch.tensor(times, dtype=like.dtype, device=like.device)
    return column.unsqueeze(-1).expand(-1, len(like))

"""What all recurrent layers of this folder share: the interface of ``nn.RNN`` and the parameters.

The layers that PyTorch has no operator for are plain loops over the time steps, which
``torch.export`` unrolls. A step multiplies x and h apart and adds the two products, so that the
joint matrix [W_ih | W_hh] can be found in it again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

States = tuple[Tensor, ...]


class RecurrentLayer(nn.Module):
    """One layer in one direction; subclasses give ``weights`` and ``_run``.

    ``shapes`` are those of the weights' parameters by name. Parameters are drawn in the order
    weights, ``bias`` (None without one), trained scalars.
    """

    _states: ClassVar[int] = 1
    _scalars: ClassVar[Mapping[str, float]] = {}  # trained, with the values they start from
    loops: bool = True  # over the steps here, not in an operator of PyTorch
    _biases: int = 1  # vectors of hidden_size in the bias

    bias: Tensor | None

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        shapes: Mapping[str, tuple[int, ...]],
        bias: bool,
        batch_first: bool,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.batch_first = batch_first

        def parameter(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.empty(shape, device=device, dtype=dtype))

        for name, shape in shapes.items():
            self.register_parameter(name, parameter(*shape))
        self.register_parameter("bias", parameter(self._biases * hidden_size) if bias else None)
        for name in self._scalars:
            self.register_parameter(name, parameter(1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new parameters from U(−k, k), k = 1/√H, as ``nn.RNN`` does; resets the scalars."""
        for name, parameter in self.named_parameters():
            if name in self._scalars:
                nn.init.constant_(parameter, self._scalars[name])
            else:
                bound = self._bound(name)
                nn.init.uniform_(parameter, -bound, bound)

    def forward(self, x: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """``(y, h_n)`` as ``nn.RNN`` gives it.

        ``x`` is (T, N, input_size), with ``batch_first`` (N, T, input_size), or (T, input_size);
        ``hx`` is (1, N, hidden_size) or (1, hidden_size), zeros if left out.
        """
        y, (h,) = self._batched(x, None if hx is None else (hx,))
        return y, h

    def weights(self) -> tuple[Tensor, Tensor]:
        """W_ih (rows, input_size) and W_hh (rows, hidden_size), hidden_size rows a gate."""
        raise NotImplementedError

    def stored(self, h: Tensor) -> Tensor:
        """What of a state ``h`` is kept for the next step: all, but for fake quantization."""
        return h

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}, bias={self.bias is not None}"

    def _run(self, x: Tensor, states: States) -> tuple[Tensor, States]:
        """The layer on a batch ``x`` from ``states`` (1, N, hidden_size) each."""
        raise NotImplementedError

    def _bound(self, _name: str) -> float:
        return self.hidden_size**-0.5

    def _batched(self, x: Tensor, states: States | None) -> tuple[Tensor, States]:
        """``_run`` with the batch axis that an unbatched ``x`` lacks, and with initial states."""
        batch_axis = 0 if self.batch_first else 1
        if x.dim() == 2:
            given = None if states is None else tuple(state.unsqueeze(1) for state in states)
            y, last = self._batched(x.unsqueeze(batch_axis), given)
            return y.squeeze(batch_axis), tuple(state.squeeze(1) for state in last)
        if states is None:
            shape = (1, x.size(batch_axis), self.hidden_size)
            states = (torch.zeros(shape, dtype=x.dtype, device=x.device),) * self._states
        return self._run(x, states)

    def _loop(
        self, x: Tensor, states: States, step: Callable[[Tensor, Tensor], Tensor]
    ) -> tuple[Tensor, States]:
        """The states (N, hidden_size) that ``step(x_t, h)`` goes through, and the last one."""
        time_axis = 1 if self.batch_first else 0
        h, passed = self.stored(states[0].squeeze(0)), []
        for x_t in x.unbind(time_axis):
            h = self.stored(step(x_t, h))
            passed.append(h)
        return torch.stack(passed, time_axis), (h.unsqueeze(0),)


class DenseLayer(RecurrentLayer):
    """A layer with the parameters ``weight_ih`` and ``weight_hh``; subclasses set the gates."""

    _gates: ClassVar[int] = 1

    weight_ih: Tensor
    weight_hh: Tensor

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        batch_first: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        rows = self._gates * hidden_size
        shapes = {"weight_ih": (rows, input_size), "weight_hh": (rows, hidden_size)}
        super().__init__(input_size, hidden_size, shapes, bias, batch_first, device, dtype)

    def weights(self) -> tuple[Tensor, Tensor]:
        """W_ih (gates·hidden_size, input_size) and W_hh (gates·hidden_size, hidden_size)."""
        return self.weight_ih, self.weight_hh


def affine(x: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, bias: Tensor | None) -> Tensor:
    """W_ih·x + W_hh·h + b for rows of ``x`` and ``h``."""
    result = nn.functional.linear(x, w_ih) + nn.functional.linear(h, w_hh)
    return result if bias is None else result + bias

"""A moving average of a network's weights: steadier than the last step's, and what is validated and saved."""

import torch
from torch import Tensor, nn


class AverageWeights:
    """Keeps an average of everything in a state dict that is a float; counters are taken as they are."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.values = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}

    def update(self, network: nn.Module) -> None:
        """Take a step's weights in. The first steps count for more, or the start would linger."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            for name, tensor in network.state_dict().items():
                if tensor.is_floating_point():
                    self.values[name].lerp_(tensor, 1 - decay)
                else:
                    self.values[name].copy_(tensor)

    def state(self) -> dict[str, Tensor | int]:
        return {"steps": self.steps, **self.values}

    def load(self, state: dict[str, Tensor | int]) -> None:
        """Take back what `state` gave."""
        self.steps = int(state["steps"])
        for name, tensor in self.values.items():
            tensor.copy_(torch.as_tensor(state[name]))

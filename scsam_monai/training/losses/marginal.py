"""Training on items in which only some classes were annotated.

Where a class was not annotated its voxels are labelled background, so "background" there means "background or
any class that nobody looked for". The probability of that union is the sum of its members' probabilities:
the marginal loss of Fang & Yan (IEEE TMI 2020) and Shi et al. (Medical Image Analysis 2021).
"""

from __future__ import annotations

import torch
from torch import Tensor

# Finite, so that a product with a zero target stays zero; exp() of it is zero in float32 all the same.
EXCLUDED = -1.0e4


def marginal_logits(logits: Tensor, annotated: Tensor) -> Tensor:
    """Merge the classes an item does not annotate into its background.

    Args:
        logits: (B, K', H, W), class 0 is the background.
        annotated: (B, K') bool; column 0 is taken as true.

    Returns:
        (B, K', H, W): channel 0 holds the logsumexp over background and unannotated classes, the channels of
        unannotated classes hold a value whose softmax is zero. Softmax of the rest is unchanged.

    Example:
        >>> logits = torch.zeros(1, 3, 1, 1)
        >>> marginal_logits(logits, torch.tensor([[True, True, False]])).softmax(dim=1).flatten().tolist()
        [0.6666666865348816, 0.3333333432674408, 0.0]
    """
    if not annotated.is_cuda and annotated.all():  # asking a GPU would wait for it
        return logits
    unknown = ~annotated.to(logits.device, torch.bool)[:, :, None, None]
    in_background = torch.cat([torch.ones_like(unknown[:, :1]), unknown[:, 1:]], dim=1)
    background = logits.masked_fill(~in_background, -torch.inf).logsumexp(dim=1, keepdim=True)
    return torch.cat([background, logits[:, 1:].masked_fill(unknown[:, 1:], EXCLUDED)], dim=1)

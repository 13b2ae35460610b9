"""The promptable SAM (Kirillov et al., ICCV 2023): points, boxes and earlier masks give masks.

Its state dict has Meta's layout, so what is trained here loads wherever a ``sam_vit_*.pth`` does.
"""

from __future__ import annotations

from typing import NamedTuple

import scsam_monai._torchvision  # noqa: F401  isort: skip
import torch
from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer
from torch import Tensor, nn

from scsam_monai.networks.mask_decoder import draw, upscale
from scsam_monai.networks.prompt_window import (
    PADDING,
    Prompts,
    checked_prompts,
    checked_size,
    cut,
    on_device,
    paste,
    to_window,
    window_around,
)
from scsam_monai.networks.sam_encoder import EMBED_DIM, PATCH, SAM_ENCODERS, SAMImageEncoder

UNAMBIGUOUS = 0
"""Number of the answer to prompts that leave no doubt; the other three are for single points."""
OUTSIDE = -32.0
"""Logit of places that the network was not shown."""


class PromptedMasks(NamedTuple):
    """Four masks for each prompt: number 0 for an unambiguous prompt, 1 to 3 for an ambiguous one."""

    logits: Tensor
    """``(P, 4, 4g, 4g)``, a pixel for 4 x 4 of the input."""
    quality: Tensor
    """``(P, 4)``, the IoU that the network expects of each."""


class Answer(NamedTuple):
    """The mask predicted for one object of one image."""

    mask: Tensor
    """``(H, W)`` bool."""
    score: float
    """IoU that the network expects."""
    logits: Tensor
    """``(H, W)``, to hand in again with a correction."""


class PromptableSAM(nn.Module):
    """SAM's image encoder, prompt encoder and mask decoder for inputs of any multiple of 16.

    SAM's own decoder takes the prompts of one image at a time; here those of all images run as one batch.

    Args:
        name: of the image encoder, such as ``vit_t``.
        chunk: prompts decoded at once on a CPU; 0 for all. A GPU always takes all.

    Example:
        >>> import torch
        >>> from scsam_monai.networks.promptable_sam import PromptableSAM
        >>> from scsam_monai.networks.prompt_window import Prompts
        >>> sam = PromptableSAM("vit_t")
        >>> point = Prompts(torch.tensor([[[20.0, 30.0]]]), torch.tensor([[1]]))
        >>> sam.decode(sam.encode(torch.rand(1, 1, 64, 96)), torch.tensor([0]), point).logits.shape
        torch.Size([1, 4, 16, 24])
    """

    def __init__(self, name: str = "vit_t", *, chunk: int = 8) -> None:
        super().__init__()
        self.chunk = chunk
        self.image_encoder = SAMImageEncoder(name)
        grid = SAM_ENCODERS[name].image_size // PATCH
        self.prompt_encoder = PromptEncoder(
            embed_dim=EMBED_DIM,
            image_embedding_size=(grid, grid),
            input_image_size=(grid * PATCH, grid * PATCH),
            mask_in_chans=16,
        )
        transformer = TwoWayTransformer(depth=2, embedding_dim=EMBED_DIM, mlp_dim=2048, num_heads=8)
        self.mask_decoder = MaskDecoder(transformer_dim=EMBED_DIM, transformer=transformer)
        attend_by_position(transformer, self.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix)
        start_with_nothing(self.mask_decoder)

    def encode(self, image: Tensor) -> Tensor:
        """Return the embedding ``(B, 256, g, g)`` of images ``(B, 1, H, W)`` in [0, 1]."""
        embedding: Tensor = self.image_encoder(image).embedding
        return embedding

    def forward(self, image: Tensor, image_index: Tensor, prompts: Prompts) -> PromptedMasks:
        """Encode and decode; see :meth:`decode`."""
        return self.decode(self.encode(image), image_index, prompts)

    def decode(self, embedding: Tensor, image_index: Tensor, prompts: Prompts) -> PromptedMasks:
        """Predict masks for prompts on images that were encoded before.

        Args:
            embedding: ``(B, 256, g, g)`` from :meth:`encode`.
            image_index: ``(P,)``, which of the B images each prompt is about.
            prompts: P prompts.

        Returns:
            logits ``(P, 4, 4g, 4g)`` and expected IoU ``(P, 4)``.
        """
        size = len(image_index) if embedding.is_cuda or not self.chunk else self.chunk
        indices, points, labels = (part.split(size) for part in (image_index, prompts.points, prompts.labels))
        masks = [None] * len(indices) if prompts.mask is None else prompts.mask.split(size)
        answers = [
            self._decode(embedding, index, Prompts(*prompt))
            for index, *prompt in zip(indices, points, labels, masks, strict=True)
        ]
        return answers[0] if len(answers) == 1 else PromptedMasks(*map(torch.cat, zip(*answers, strict=True)))

    @torch.no_grad()
    def predict(
        self,
        image: Tensor,
        points: Tensor | None = None,
        labels: Tensor | None = None,
        box: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Answer:
        """Segment the object that points or a box mark, in an image of any size.

        The network sees a square around the prompts: 256 pixels as in training, or what they span, shrunk. A
        single point may mean a part or the whole; then the mask that the network rates highest is returned.

        Args:
            image: ``(H, W)`` in [0, 1].
            points: ``(N, 2)`` x and y in pixels; the centre of the first pixel is (0, 0).
            labels: ``(N,)``, 1 inside the object and 0 outside; None where all are inside.
            box: ``(4,)`` x and y of the first and of the last pixel.
            mask: ``(H, W)`` logits of an earlier answer that the other prompts correct.

        Raises:
            InputError: if there is no prompt, or one does not fit the image.

        Example:
            >>> image = torch.rand(300, 200)
            >>> PromptableSAM("vit_t").predict(image, points=torch.tensor([[120, 40]])).mask.shape
            torch.Size([300, 200])
        """
        size = checked_size(image, mask)
        asked = checked_prompts(points, labels, box, size)
        window = window_around(asked, size)
        device = next(self.parameters()).device
        prompts = on_device(to_window(asked, window, mask), device)
        shown = cut(image.float().view(1, 1, *size), window).to(device)
        index = torch.zeros(1, dtype=torch.long, device=device)
        answers = self(shown, index, prompts)
        ambiguous = box is None and mask is None and asked.points.shape[1] == 1
        number = int(answers.quality[0, 1:].argmax()) + 1 if ambiguous else UNAMBIGUOUS
        logits = paste(answers.logits[:, number : number + 1].float().cpu(), window, size, OUTSIDE)
        return Answer(logits > 0, float(answers.quality[0, number]), logits)

    def embed_prompts(self, prompts: Prompts, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Return tokens ``(P, T, 256)`` and dense prompts ``(P or 1, 256, g, g or 1)`` for a grid of g x g."""
        encoder = self.prompt_encoder
        kinds = torch.cat([encoder.not_a_point_embed.weight, *(e.weight for e in encoder.point_embeddings)])
        size = (grid[0] * PATCH, grid[1] * PATCH)
        position = encoder.pe_layer.forward_with_coords(prompts.points + 0.5, size)
        known = (prompts.labels != PADDING).unsqueeze(-1)
        tokens = torch.where(known, position, 0.0) + kinds[prompts.labels.long() + 1]
        if prompts.mask is not None:
            return tokens, encoder.mask_downscaling(prompts.mask)
        return tokens, encoder.no_mask_embed.weight.view(1, -1, 1, 1)

    def _decode(self, embedding: Tensor, image_index: Tensor, prompts: Prompts) -> PromptedMasks:
        decoder = self.mask_decoder
        grid = (embedding.shape[-2], embedding.shape[-1])
        sparse, dense = self.embed_prompts(prompts, grid)
        source = embedding[image_index] + dense
        position = self.prompt_encoder.pe_layer(grid).expand(len(source), -1, -1, -1)
        outputs = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
        tokens = torch.cat([outputs.expand(len(source), -1, -1), sparse], dim=1)
        decoded, embedded = decoder.transformer(source, position, tokens)
        heads = enumerate(decoder.output_hypernetworks_mlps, start=1)  # token 0 is the quality token
        weights = torch.stack([head(decoded[:, token]) for token, head in heads], dim=1)
        logits = draw(weights, upscale(decoder.output_upscaling, embedded), grid)
        return PromptedMasks(logits, decoder.iou_prediction_head(decoded[:, 0]))


PRIOR = -4.0
"""Logit of every place before training: organelles cover about a fiftieth of what is asked about."""


@torch.no_grad()
def start_with_nothing(decoder: MaskDecoder) -> None:
    """Initialise the last layers so that every mask's logits start near ``PRIOR``, that is empty.

    From even odds the first steps push all places down together, which the encoder takes part in: it becomes
    constant before it has learned anything.
    """
    last = decoder.output_upscaling[-2]
    last.bias.fill_(1.0)
    level = float(nn.functional.gelu(torch.tensor(1.0)))
    for head in decoder.output_hypernetworks_mlps:
        head.layers[-1].bias.fill_(PRIOR / (len(last.bias) * level))


SHARPNESS, GAIN = 2.0, 2.0


@torch.no_grad()
def attend_by_position(transformer: TwoWayTransformer, frequencies: Tensor) -> None:
    """Initialise the attention between tokens and image so that it is strongest near a prompt's points.

    With random projections nothing in the image's features tells where a point is, and training from scratch
    spends its first thousands of steps finding out. Here queries and keys of each head start as the same eight
    frequencies of the positional encoding, whose product falls off with distance, and the values are doubled so
    that what is seen outweighs the image's own features.

    Args:
        transformer: of SAM's mask decoder, freshly built.
        frequencies: ``(2, C / 2)`` of the positional encoding.
    """
    lowest = frequencies.norm(dim=0).argsort()
    for name, part in transformer.named_modules():
        if name.endswith(("token_to_image", "image_to_token")):
            kernel = _select(lowest, part.num_heads, part.internal_dim, 2 * len(lowest)) * SHARPNESS**0.5
            for projection in (part.q_proj, part.k_proj):
                projection.weight.copy_(kernel)
                projection.bias.zero_()
            part.v_proj.weight.mul_(GAIN)
            part.out_proj.weight.mul_(GAIN)


def _select(lowest: Tensor, heads: int, rows: int, columns: int) -> Tensor:
    """Rows that pick sine and cosine of the lowest frequencies, dealt out to the heads in turn."""
    kernel = torch.zeros(rows, columns)
    pairs = rows // heads // 2
    for head in range(heads):
        for pair in range(pairs):
            frequency, row = int(lowest[head + heads * pair]), 2 * (head * pairs + pair)
            kernel[row, frequency] = kernel[row + 1, frequency + columns // 2] = 1.0
    return kernel

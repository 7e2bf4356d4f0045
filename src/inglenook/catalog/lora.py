# SPDX-License-Identifier: Apache-2.0
"""LoRA files: which family they fit, what they change, and why one cannot be used. By names and shapes. Pure.

The same change is spelled in many ways. Where a layer's name stands is told by what comes before it:

    kohya       lora_unet_down_blocks_0_…_attn2_to_k.lora_down.weight     lora_te1_…, lora_te2_… beside it
    diffusers   unet.down_blocks.0.….attn2.to_k.lora.down.weight          transformer.…, text_encoder.…
    PEFT        base_model.model.….to_k.lora_A.weight                     diffusion_model.… as ComfyUI has it

`down` or `A` is (rank, columns), `up` or `B` is (rows, rank).
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from inglenook.catalog.evidence import told_family
from inglenook.catalog.identity import Identity, Shapes, anywhere, unsupported
from inglenook.catalog.model import LoraFacts, ModelKind

_HALVES: Mapping[str, int] = {
    ".lora_down.weight": 0, ".lora_up.weight": 1, ".lora_A.weight": 0, ".lora_B.weight": 1,
    ".lora.down.weight": 0, ".lora.up.weight": 1, "_lora.down.weight": 0, "_lora.up.weight": 1,
}  # fmt: skip
"""How the names of nearly all halves end; 0 is the first half, 1 the second."""
_RARE_HALF = re.compile(r"(?:[._]lora[._]|\.lora_linear_layer\.)(A|B|down|up)(\.\w+)?\.weight$")
"""The others: PEFT puts the adapter's name between, and diffusers once said `lora_linear_layer`."""
_OTHER_ADAPTERS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\.hada_[wt][12]", re.MULTILINE), "a LoHa"),
    (re.compile(r"\.lokr_w[12]|\.lokr_t2$", re.MULTILINE), "a LoKr"),
    (re.compile(r"\.b?oft_(blocks|diag)", re.MULTILINE), "an OFT"),
    (re.compile(r"\.on_input$|\.ia3_[lw]", re.MULTILINE), "an IA3"),
)
"""Other ways to change few weights, which LyCORIS trains. They look like LoRAs from outside."""
_MORE_THAN_A_LORA: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\.lora_mid\.", re.MULTILINE), "is in Tucker form"),
    (re.compile(r"\.dora_scale$|\.lora_magnitude_vector", re.MULTILINE), "is a DoRA"),
    (re.compile(r"\.(a1|a2|b1|b2|bm)\.weight$", re.MULTILINE), "is a GLoRA"),
    (re.compile(r"\.diff(_b)?$|\.set_weight$", re.MULTILINE), "holds whole differences of weights as well"),
    (re.compile(r"\.lora_(B|up)(\.\w+)?\.bias$", re.MULTILINE), "has biases"),
    (re.compile(r"^bundle_emb\b", re.MULTILINE), "holds embeddings as well"),
    (re.compile(r"^lora_controlnet$", re.MULTILINE), "is a Control-LoRA"),
)
"""What some files hold beside the halves of a LoRA; without it, pictures would be others than those meant."""

_UNET = re.compile(r"(down|up|mid|input|output|middle)_block", re.MULTILINE)
_UNET_TEXT = re.compile(r"attn2[._](processor[._])?to_[kv]$", re.MULTILINE)
_DEEP = re.compile(r"transformer_blocks[._][1-9]", re.MULTILINE)
"""More than one transformer block in a row, which only SDXL's UNet has."""
_FLUX_BLOCKS = re.compile(
    r"(^|[._])(double_blocks|single_blocks|single_transformer_blocks)[._]", re.MULTILINE
)
_BLOCK = re.compile(r"(?<!single_)(?<!single-)transformer_blocks[._](\d+)[._]", re.MULTILINE)
_QWEN = re.compile(r"[._](img_mod|txt_mod|img_mlp|txt_mlp)[._]", re.MULTILINE)
_SD3 = re.compile(r"(^|[._])joint_blocks[._]|transformer_blocks[._]\d+[._]attn2[._]", re.MULTILINE)
_FF = re.compile(r"transformer_blocks[._]\d+[._](ff|ff_context|norm1|norm1_context)[._]", re.MULTILINE)
_VIDEO_FLUX = re.compile(
    r"[._](img|txt)_mlp[._]fc|[._]modulation[._]linear|individual_token_refiner", re.MULTILINE
)
_GATED = {9: re.compile(r"single_blocks[._]\d+[._]linear1$"), 6: re.compile(r"_mlp[._]0$")}
_OTHERS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"to_qkv_mlp_proj|_stream_modulation", re.MULTILINE), "flux2"),
    (re.compile(r"distilled_guidance_layer", re.MULTILINE), "chroma"),
    (re.compile(r"(^|[._])blocks[._]\d+[._](cross_attn|self_attn)[._]", re.MULTILINE), "wan"),
    (
        re.compile(r"(^|[._])(layers|noise_refiner)[._]\d+[._](attention|adaLN_modulation)", re.MULTILINE),
        "z-image",
    ),
    (re.compile(r"double_stream_blocks", re.MULTILINE), "hidream"),
)

_TEXT_WIDTHS: Mapping[int, str] = {768: "sd1", 1024: "sd2", 2048: "sdxl"}
_SD3_WIDTHS = frozenset({1536, 2432})
_WIDE = 3072
"""Columns of the stream through FLUX.1 and through Qwen-Image alike."""
_FLUX_DOUBLE_BLOCKS = 19
MAX_RANK = 4096
MAX_TENSORS = 20_000


@dataclass(frozen=True, slots=True)
class _Pair:
    """One layer's change: (rank, columns) and (rows, rank), as far as both are there."""

    layer: str
    down: tuple[int, ...] | None = None
    up: tuple[int, ...] | None = None

    @property
    def columns(self) -> int:
        return self.down[1] if self.down is not None and len(self.down) > 1 else 0


def identify_lora(shapes: Shapes, metadata: Mapping[str, str]) -> Identity | None:
    """A LoRA, or another adapter that is refused; None for a file without any."""
    for pattern, what in _OTHER_ADAPTERS:
        if anywhere(pattern, shapes):
            refused = f"it is {what}, not a LoRA, which is not supported yet"
            return Identity(ModelKind.LORA, told_family(metadata), refused)
    pairs = _pairs(shapes)
    if not pairs:
        return None
    fits = _families(pairs, metadata)
    family = fits[0] if len(fits) == 1 else None
    problem = _more(shapes) or _unsound(pairs)
    if fits and not set(fits) <= set(OURS):
        fits, problem = (), unsupported(str(family))
    facts = LoraFacts(max(_rank(pair) for pair in pairs), tuple(_touches(pairs)), len(pairs))
    return Identity(ModelKind.LORA, family, problem, fits=fits, lora=facts)


OURS = ("sd1", "sd2", "sdxl", "sd3", "flux", "qwen-image")


def _more(shapes: Shapes) -> str | None:
    if len(shapes) > MAX_TENSORS:
        return f"it holds {len(shapes)} tensors; at most {MAX_TENSORS} are read of a LoRA"
    what = next((what for pattern, what in _MORE_THAN_A_LORA if anywhere(pattern, shapes)), None)
    return None if what is None else f"it {what}, which is not supported yet"


def _pairs(shapes: Shapes) -> list[_Pair]:
    halves: dict[str, list[tuple[int, ...] | None]] = {}
    for name, shape in shapes.items():
        found = _half(name)
        if found is not None:
            halves.setdefault(found[0], [None, None])[found[1]] = shape
    return [_Pair(layer, down, up) for layer, (down, up) in halves.items()]


def _half(name: str) -> tuple[str, int] | None:
    """The layer that a tensor belongs to, and which half of its change it is; None for other tensors."""
    if not name.endswith(_ENDS):
        found = _RARE_HALF.search(name) if "lora" in name else None
        return None if found is None else (name[: found.start()], found[1] in ("B", "up"))
    return next((name[: -len(end)], half) for end, half in _HALVES.items() if name.endswith(end))


_ENDS = tuple(_HALVES)


def _rank(pair: _Pair) -> int:
    return pair.down[0] if pair.down else 0


def _unsound(pairs: Iterable[_Pair]) -> str | None:
    """Why these pairs cannot be multiplied, or None."""
    for pair in pairs:
        layer = pair.layer[:120]
        if pair.down is None or pair.up is None:
            return f"its layer {layer!r} has one half of two: the file is not whole"
        if len(pair.down) not in (2, 4) or len(pair.up) not in (2, 4) or pair.down[0] != pair.up[1]:
            return f"its layer {layer!r} has halves that do not fit: {list(pair.down)} and {list(pair.up)}"
        if not 0 < pair.down[0] <= MAX_RANK:
            return f"its layer {layer!r} has rank {pair.down[0]}; at most {MAX_RANK} is read"
    return None


def _touches(pairs: Iterable[_Pair]) -> Iterator[str]:
    found = {_component(pair.layer) for pair in pairs}
    for component in ("unet", "transformer", "text_encoder", "text_encoder_2", "text_encoder_3"):
        if component in found:
            yield component


def _component(layer: str) -> str:
    if layer.startswith(("lora_te3_", "text_encoder_3.", "text_encoders.t5xxl.")):
        return "text_encoder_3"
    if layer.startswith(("lora_te2_", "text_encoder_2.", "text_encoders.clip_g.")):
        return "text_encoder_2"
    if layer.startswith(("lora_te_", "lora_te1_", "text_encoder.", "text_encoders.")):
        return "text_encoder"
    return "unet" if _UNET.search(layer) else "transformer"


# ── which family ──────────────────────────────────────────────────────────────────────────────────────────


def _families(pairs: list[_Pair], metadata: Mapping[str, str]) -> tuple[str, ...]:
    """The families whose layers have these names and widths; empty where that is not known."""
    drawing = [pair for pair in pairs if not _component(pair.layer).startswith("text_encoder")]
    found = _of_drawing(drawing) if drawing else _of_text(pairs)
    told = told_family(metadata)
    if told is not None and (not found or told in found):
        return (told,)
    return found


def _of_drawing(pairs: list[_Pair]) -> tuple[str, ...]:
    layers = [pair.layer for pair in pairs]
    if anywhere(_UNET, layers):
        return _of_unet(pairs)
    for pattern, family in _OTHERS:
        if anywhere(pattern, layers):
            return (family,)
    if anywhere(_FLUX_BLOCKS, layers):
        return (_flux_or_its_kin(pairs),)
    if anywhere(_QWEN, layers):
        return ("qwen-image",)
    if anywhere(_SD3, layers):
        return ("sd3",)
    return _of_joint_attention(pairs)


def _of_unet(pairs: list[_Pair]) -> tuple[str, ...]:
    """By the text that the cross-attention reads; a file that leaves it alone, by the depth of its blocks."""
    for pair in pairs:
        if _UNET_TEXT.search(pair.layer) and pair.columns in _TEXT_WIDTHS:
            return (_TEXT_WIDTHS[pair.columns],)
    if anywhere(_DEEP, [pair.layer for pair in pairs]):
        return ("sdxl",)
    return ()


def _flux_or_its_kin(pairs: list[_Pair]) -> str:
    """FLUX.2's perceptrons are gated: a block writes nine times what it reads, FLUX.1's seven times."""
    if anywhere(_VIDEO_FLUX, [pair.layer for pair in pairs]):
        return "hunyuan-video"
    for pair in pairs:
        if pair.up is None or not pair.columns:
            continue
        times, rest = divmod(pair.up[0], pair.columns)
        if rest == 0 and times in (6, 9) and _GATED[times].search(pair.layer):
            return "flux2"
    return "flux"


def _of_joint_attention(pairs: list[_Pair]) -> tuple[str, ...]:
    """Blocks that FLUX, SD 3 and Qwen-Image name alike: by width, number and perceptrons."""
    blocks = [int(found[1]) for pair in pairs if (found := _BLOCK.search(pair.layer)) is not None]
    if not blocks:
        return ()
    widths = {pair.columns for pair in pairs if re.search(r"[._](to|add)_[qkv](_proj)?$", pair.layer)}
    perceptrons = anywhere(_FF, [pair.layer for pair in pairs])
    if widths & _SD3_WIDTHS:
        return ("sd3",)
    if _WIDE in widths:
        if perceptrons:
            return ("flux",)
        return ("qwen-image",) if max(blocks) >= _FLUX_DOUBLE_BLOCKS else ("flux", "qwen-image")
    return ("flux", "sd3") if perceptrons else ("flux", "sd3", "qwen-image")


def _of_text(pairs: list[_Pair]) -> tuple[str, ...]:
    """A LoRA of text encoders alone: kohya numbers them where there are two."""
    names = [pair.layer for pair in pairs]
    if any(name.startswith(("lora_te2_", "text_encoder_2.")) for name in names):
        return ("sdxl",)
    widths = {pair.columns for pair in pairs if re.search(r"self_attn[._][qkv]_proj$", pair.layer)}
    if any(name.startswith("lora_te_") for name in names):
        return tuple({768: "sd1", 1024: "sd2"}[width] for width in sorted(widths) if width in (768, 1024))[:1]
    return ()

# SPDX-License-Identifier: Apache-2.0
"""What a diffusers folder is: its index, its configurations and its tensors must agree. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inglenook.catalog import components
from inglenook.catalog.evidence import configured_variant
from inglenook.catalog.identify import TEXT_WIDTHS, odd_channels, shaped_variant, text_width
from inglenook.catalog.identity import Identity, Shapes, unsupported
from inglenook.catalog.model import ModelKind
from inglenook.catalog.networks import Network, network, packed

INDEX = "model_index.json"


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What a class in `model_index.json` is made of.

    Attributes:
        family: None where only the UNet tells.
        optional: components that the index may leave out.
    """

    name: str
    family: str | None
    network: str
    parts: tuple[str, ...]
    optional: frozenset[str] = frozenset()

    def components(self, index: Mapping[str, Any]) -> tuple[str, ...]:
        """In the order in which they are read; an optional one only if the index names it."""
        return tuple(part for part in self.parts if part not in self.optional or _named(index, part))


_CLIP = ("text_encoder", "tokenizer", "scheduler")
_TWO = ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler")
_THREE = (
    "text_encoder", "text_encoder_2", "text_encoder_3", "tokenizer", "tokenizer_2", "tokenizer_3",
    "scheduler",
)  # fmt: skip
_SD = Pipeline("StableDiffusion", None, "unet", ("unet", "vae", *_CLIP))
_SDXL = Pipeline("StableDiffusionXL", "sdxl", "unet", ("unet", "vae", *_TWO))
_SD3 = Pipeline(
    "StableDiffusion3",
    "sd3",
    "transformer",
    ("transformer", "vae", *_THREE),
    frozenset({"text_encoder_3", "tokenizer_3"}),
)
_FLUX = Pipeline("Flux", "flux", "transformer", ("transformer", "vae", *_TWO))
_QWEN = Pipeline("QwenImage", "qwen-image", "transformer", ("transformer", "vae", *_CLIP))
_QWEN_EDIT = Pipeline(
    "QwenImageEdit",
    "qwen-image",
    "transformer",
    ("transformer", "vae", *_CLIP, "processor"),
    frozenset({"processor"}),
)

PIPELINES: Mapping[str, Pipeline] = {
    "StableDiffusionPipeline": _SD,
    "StableDiffusionImg2ImgPipeline": _SD,
    "StableDiffusionInpaintPipeline": _SD,
    "LatentConsistencyModelPipeline": _SD,
    "LatentConsistencyModelImg2ImgPipeline": _SD,
    "StableDiffusionXLPipeline": _SDXL,
    "StableDiffusionXLImg2ImgPipeline": _SDXL,
    "StableDiffusionXLInpaintPipeline": _SDXL,
    "StableDiffusion3Pipeline": _SD3,
    "StableDiffusion3Img2ImgPipeline": _SD3,
    "StableDiffusion3InpaintPipeline": _SD3,
    "FluxPipeline": _FLUX,
    "FluxImg2ImgPipeline": _FLUX,
    "FluxInpaintPipeline": _FLUX,
    "FluxFillPipeline": _FLUX,
    "FluxKontextPipeline": _FLUX,
    "FluxKontextInpaintPipeline": _FLUX,
    "QwenImagePipeline": _QWEN,
    "QwenImageImg2ImgPipeline": _QWEN,
    "QwenImageInpaintPipeline": _QWEN,
    "QwenImageEditPipeline": _QWEN_EDIT,
    "QwenImageEditInpaintPipeline": _QWEN_EDIT,
    "QwenImageEditPlusPipeline": _QWEN_EDIT,
}
_OTHER_PIPELINES: tuple[tuple[str, str], ...] = (
    ("Flux2", "flux2"),
    ("FluxControl", "flux with a control picture"),
    ("QwenImageLayered", "qwen-image-layered"),
    ("QwenImageControl", "qwen-image with a control picture"),
    ("ZImage", "z-image"),
    ("Wan", "wan"),
    ("PixArt", "pixart"),
    ("Chroma", "chroma"),
    ("Sana", "sana"),
    ("Lumina", "lumina"),
    ("HunyuanVideo", "hunyuan-video"),
    ("LTX", "ltx-video"),
    ("AuraFlow", "auraflow"),
    ("HiDream", "hidream"),
)


def pipeline_of(index: Mapping[str, Any]) -> Pipeline | None:
    """What the class of a `model_index.json` is made of; None where it is none of ours."""
    name = index.get("_class_name")
    return PIPELINES.get(name) if isinstance(name, str) else None


def identify_pipeline(
    index: Mapping[str, Any], configs: Mapping[str, Mapping[str, Any]], tensors: Mapping[str, Shapes]
) -> Identity:
    """What a diffusers folder is.

    Args:
        index: its `model_index.json`.
        configs: the configuration of each component, by component, as far as there are any.
        tensors: the tensors of each component. They decide; what index and configurations say must agree.
    """
    pipeline = pipeline_of(index)
    if pipeline is None:
        return _other_pipeline(index.get("_class_name"))
    if pipeline.network == "unet":
        return _with_unet(pipeline, index, configs, tensors)
    return _with_transformer(pipeline, index, configs, tensors)


def _other_pipeline(name: object) -> Identity:
    if not isinstance(name, str):
        return Identity(ModelKind.OTHER, None, f"{INDEX} names no _class_name")
    family = next((family for start, family in _OTHER_PIPELINES if name.startswith(start)), None)
    if family is not None:
        return Identity(ModelKind.IMAGE, family, unsupported(family))
    return Identity(ModelKind.OTHER, None, f"pipeline {name[:80]} is not supported yet")


def _named(index: Mapping[str, Any], component: str) -> bool:
    entry = index.get(component)
    return isinstance(entry, list) and len(entry) > 0 and entry[0] is not None


def _missing_component(pipeline: Pipeline, index: Mapping[str, Any]) -> str | None:
    for component in pipeline.components(index):
        if not _named(index, component):
            refiner = component == "text_encoder" and pipeline is _SDXL
            more = "; it may be the SDXL refiner, which is not supported yet" if refiner else ""
            return f"{INDEX} names no {component}{more}"
    return None


# ── with a UNet ───────────────────────────────────────────────────────────────────────────────────────────


def _with_unet(
    pipeline: Pipeline,
    index: Mapping[str, Any],
    configs: Mapping[str, Mapping[str, Any]],
    tensors: Mapping[str, Shapes],
) -> Identity:
    config, unet = configs.get("unet", {}), tensors.get("unet", {})
    family = _unet_family(config)
    conv_in = unet.get("conv_in.weight")
    problem = (
        _missing_component(pipeline, index)
        or _index_contradicts(pipeline, family)
        or _unet_contradicts(config, unet)
        or odd_channels(conv_in)
    )
    shaped = shaped_variant(family, unet, conv_in)
    told = configured_variant(family, str(index["_class_name"]), config, configs.get("scheduler", {}))
    return Identity(
        ModelKind.IMAGE,
        family,
        problem,
        variant=shaped or told,
        shaped=shaped != "",
        widths=_widths(tensors),
    )


def _unet_family(config: Mapping[str, Any]) -> str:
    """SDXL's UNet is told its picture's size besides the text; SD 2's reads wider text than SD 1's.

    A small model with a text width of its own is told by how it projects, which changed with SD 2 as well.
    """
    if config.get("addition_embed_type") == "text_time":
        return "sdxl"
    width = config.get("cross_attention_dim")
    if width in (768, 1024):
        return TEXT_WIDTHS[width]
    return "sd2" if config.get("use_linear_projection") is True else "sd1"


def _index_contradicts(pipeline: Pipeline, family: str) -> str | None:
    if (pipeline is _SDXL) == (family == "sdxl"):
        return None
    return f"{INDEX} says {pipeline.name}, but unet/config.json describes a UNet of family {family}"


def _unet_contradicts(config: Mapping[str, Any], unet: Shapes) -> str | None:
    """Where `unet/config.json` and the UNet's tensors disagree, a load would fail late; say it now."""
    declared, found = config.get("cross_attention_dim"), text_width(unet, "")
    if isinstance(declared, int) and found is not None and declared != found:
        return f"unet/config.json says cross_attention_dim {declared}, but the weights have {found}"
    conv, channels = unet.get("conv_in.weight"), config.get("block_out_channels")
    if conv and isinstance(channels, list) and channels and channels[0] != conv[0]:
        return (
            f"unet/config.json says block_out_channels {channels[0]} …, but the weights begin with {conv[0]}"
        )
    return None


# ── with a transformer ────────────────────────────────────────────────────────────────────────────────────


def _with_transformer(
    pipeline: Pipeline,
    index: Mapping[str, Any],
    configs: Mapping[str, Mapping[str, Any]],
    tensors: Mapping[str, Shapes],
) -> Identity:
    shapes, class_name = tensors.get("transformer", {}), str(index["_class_name"])
    found, config = network(shapes), configs.get("transformer", {})
    told = configured_variant(str(pipeline.family), class_name, config, configs.get("scheduler", {}))
    widths = _widths(tensors)
    if found is None or found.family != pipeline.family:
        what = "no transformer of that family" if found is None else f"a transformer of family {found.family}"
        broken = _missing_component(pipeline, index) or f"{INDEX} says {class_name}, but it holds {what}"
        return Identity(ModelKind.IMAGE, pipeline.family, broken, variant=told, widths=widths)
    problem = (
        _missing_component(pipeline, index)
        or found.problem
        or packed(shapes)
        or _class_contradicts(class_name, found)
        or _guidance_contradicts(config, found)
        or _widths_contradict(found, widths)
    )
    return Identity(
        ModelKind.IMAGE,
        pipeline.family,
        problem,
        variant=found.variant if found.shaped else told or found.variant,
        shaped=found.shaped,
        widths=widths | {"transformer": found.width},
    )


def _widths(tensors: Mapping[str, Shapes]) -> dict[str, int]:
    """What each text encoder writes, and the VAE's channels, as far as their tensors tell."""
    found = {}
    for component, shapes in tensors.items():
        told = components.vae(shapes) if component == "vae" else components.text_encoder(shapes)
        if told is not None and component not in ("unet", "transformer"):
            found[component] = told[1]
    return found


def _class_contradicts(class_name: str, found: Network) -> str | None:
    if found.family == "flux" and ("Fill" in class_name) != (found.variant == "fill"):
        kind = "FLUX.1 Fill" if found.variant == "fill" else "a FLUX.1 that is shown no mask"
        return f"{INDEX} says {class_name}, but its transformer is that of {kind}"
    return None


def _guidance_contradicts(config: Mapping[str, Any], found: Network) -> str | None:
    told = config.get("guidance_embeds")
    if found.family != "flux" or not isinstance(told, bool) or told == found.guided:
        return None
    has = "none" if told else "one"
    return f"transformer/config.json says guidance_embeds {str(told).lower()}, but the weights have {has}"


def _widths_contradict(found: Network, widths: Mapping[str, int]) -> str | None:
    """A transformer that reads text or latents of another width than its neighbours write cannot draw."""
    for slot, (_, width) in found.text.items():
        written = widths.get(slot)
        if width is not None and written is not None and written != width:
            return f"its transformer reads text of width {width}, but its {slot} writes {written}"
    channels = widths.get("vae", found.vae[1])
    if channels != found.vae[1]:
        return f"its transformer draws {found.vae[1]} latent channels, but its VAE has {channels}"
    return None

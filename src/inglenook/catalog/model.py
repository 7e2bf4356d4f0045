# SPDX-License-Identifier: Apache-2.0
"""A model on disk as a value. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Literal

from inglenook.base.ids import ModelId
from inglenook.vision.preprocessing import Preprocessing
from inglenook.wire.families import IMAGE, INPAINT, TEXT


class ModelKind(StrEnum):
    IMAGE = "image"
    LANGUAGE = "language"
    LORA = "lora"
    EMBEDDING = "embedding"  # a textual inversion
    VAE = "vae"
    TEXT_ENCODER = "text_encoder"
    PROJECTOR = "projector"  # what turns pictures into tokens of a language model (mmproj)
    SPEECH = "speech"
    VISION = "vision"  # pictures in, labels and scores out
    MATTING = "matting"  # a picture in, how much of each pixel is subject out
    OTHER = "other"


class LanguageTask(StrEnum):
    """What a language model is for, by its header."""

    CHAT = "chat"  # also plain completion
    EMBEDDING = "embedding"
    RERANK = "rerank"


@dataclass(frozen=True, slots=True)
class ImageDefaults:
    """What a request that names nothing gets, and which sizes the model can do.

    Attributes:
        native_px: side of the pictures it was trained on.
        multiple: sides must be multiples of this.
        width, height: default size of a picture as delivered.
        steps, guidance_scale: defaults.
        fixed: the only sizes (width, height) it can draw, or empty when any will do. A request for a larger
            size is drawn at a fixed one and enlarged by a whole factor (nearest neighbour).
        min_px: smallest side it can draw.
        schedulers: the only ones that it can follow, beside its own; empty when any will do.
        modes: what it can be asked for; see `wire.families`.
        guided: whether `guidance_scale` changes anything.
        negative_prompt: whether it can be told what not to draw.
        max_pictures: how many pictures an instruction may be about.
        sizes: (width, height) to offer, the default first.
    """

    native_px: int
    multiple: int
    width: int
    height: int
    steps: int
    guidance_scale: float
    min_px: int = 64
    fixed: tuple[tuple[int, int], ...] = ()
    schedulers: tuple[str, ...] = ()
    modes: frozenset[str] = frozenset({TEXT, IMAGE, INPAINT})
    guided: bool = True
    negative_prompt: bool = True
    max_pictures: int = 1
    sizes: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Need:
    """A component that a model lacks and that another file must lend.

    Attributes:
        slot: its name in diffusers' folders: `text_encoder`, `text_encoder_2`, `text_encoder_3`, `vae`,
            `tokenizer` …
        role: what must fill it; a word of `ModelRecord.role`, or `tokenizer`.
        width: what `ModelRecord.widths` must say of it; None where the model does not tell.
        required: without it the model cannot draw.
    """

    slot: str
    role: str
    width: int | None = None
    required: bool = True


LANGUAGE_MODEL: Final = "language_model"


@dataclass(frozen=True, slots=True)
class LoraFacts:
    """What a LoRA's header tells.

    Attributes:
        rank: the largest of its pairs.
        touches: `unet` or `transformer`, `text_encoder`, `text_encoder_2`, `text_encoder_3` (T5, whatever its
            place in the model), in this order; `language_model` alone of a language model's adapter.
        pairs: how many layers it changes.
    """

    rank: int
    touches: tuple[str, ...]
    pairs: int


@dataclass(frozen=True, slots=True)
class LayerCache:
    """What one layer of a language model keeps of a conversation.

    Attributes:
        key_values, value_values: numbers of each token, over all heads; 0 in a layer without attention.
        window: tokens that it looks back; 0 for all.
        state_values: numbers that a recurrent layer keeps of the conversation, however long it is.
    """

    key_values: int = 0
    value_values: int = 0
    window: int = 0
    state_values: int = 0


@dataclass(frozen=True, slots=True)
class LanguageFacts:
    """What a language model's header tells. Nothing of it is trusted further than memory estimates and lists.

    Attributes:
        architecture: GGUF's word (`llama`, `qwen3`, `bert` …).
        context: tokens that it was trained for (its native length).
        width: columns of its stream (`embedding_length`).
        heads, kv_heads: of attention; `kv_heads` of the layer that has most.
        key_width, value_width: columns of one head.
        layer_bytes: weights of each layer, in order; its length is the number of layers.
        other_bytes: weights outside of the layers: embeddings and output.
        quantisation: of most weights, as its users write it (`Q4_K_M`, `F16` …).
        template: the chat template in Jinja; "" where there is none.
        pooling: of an embedding model, where it says.
        experts: how many a layer has; 0 of a dense model.
        sliding_window: tokens that the windowed layers look back; 0 where all look at everything.
        recurrent: it keeps a state instead of keys and values, in some layers at least.
        shards: the files of a split model, in order; empty for a single file.
        size_label: what its makers call its size (`135M`).
        causal: each token sees those before it only; False of most embedding models, which read a text at
            once.
        feed_forward: columns of its widest feed-forward layer, of all experts at work together.
        experts_used: of a layer's, how many work on a token.
        type_bytes: bytes of the layers' matrices by the type in which they are stored.
        embedding_bytes: of `other_bytes`, what stays in host memory: the weights before the first layer.
        output_bytes: of the weights after the last layer, which go to the device with it; those of the
            embeddings as well where it shares them, for they are then held twice.
        caches: of each layer, in order.
        tokenizer: `tokenizer.ggml.model` and `.pre`, as in `gpt2/smollm`.
        token_marks: checksums of the tokenizer's words; see `GgufHeader.token_marks`.
        inputs: what it reads beside text: `image`, `audio`; it does with the projector in `parts["mmproj"]`.
    """

    task: LanguageTask
    architecture: str
    context: int
    width: int = 0
    heads: int = 0
    kv_heads: int = 0
    key_width: int = 0
    value_width: int = 0
    vocabulary: int = 0
    layer_bytes: tuple[int, ...] = ()
    other_bytes: int = 0
    quantisation: str = ""
    template: str = ""
    pooling: str | None = None
    experts: int = 0
    sliding_window: int = 0
    recurrent: bool = False
    shards: tuple[Path, ...] = ()
    size_label: str = ""
    causal: bool = True
    feed_forward: int = 0
    experts_used: int = 0
    type_bytes: Mapping[str, int] = field(default_factory=dict)
    embedding_bytes: int = 0
    output_bytes: int = 0
    caches: tuple[LayerCache, ...] = ()
    tokenizer: str = ""
    token_marks: tuple[int, ...] = ()
    inputs: tuple[str, ...] = ()

    @property
    def layers(self) -> int:
        return len(self.layer_bytes)


@dataclass(frozen=True, slots=True)
class ProjectorFacts:
    """What a projector's header tells.

    Attributes:
        type: what llama.cpp calls its construction (`idefics3`, `gemma3`, `qwen2.5vl_merger` …).
        inputs: `image`, `audio`.
        width: columns of what it writes, which must be those of the language model; 0 where it is not told.
        layers: of its encoders together; encoder_width: columns of their streams.
        side_px: of the pictures that it reads; patch_px: of what becomes a token.
    """

    type: str
    inputs: tuple[str, ...]
    width: int
    layers: int = 0
    encoder_width: int = 0
    side_px: int = 0
    patch_px: int = 0


@dataclass(frozen=True, slots=True)
class SpeechFacts:
    """What a speech model's files tell.

    Attributes:
        engine: `faster-whisper` (a folder of CTranslate2) or `whisper.cpp` (a `ggml` file).
        languages: codes that it knows; ("en",) for an English-only model.
        mels: bands of its spectrogram, 80 or 128.
    """

    engine: Literal["faster-whisper", "whisper.cpp"]
    languages: tuple[str, ...] = ()
    mels: int = 80


@dataclass(frozen=True, slots=True)
class VisionFacts:
    """What an ONNX file tells of a model that looks at pictures.

    Attributes:
        task: `classification`; `matting`, which has no labels, and whose output is as large as its input.
        input, output: names of what it takes and of what is read.
        layout: order of the input's sides. dtype: of its numbers: `float32`, `float16`, `uint8`.
        channels, height, width: of the input; height and width are 0 where it takes any.
        batch: pictures at a time; 0 where it takes any number.
        labels: names of the classes, in the order of their numbers.
        labelled: whether the file (or a person, beside it) names them; else they are numbers.
        preprocessing: what happens to a picture before. told: the file says so; else it is the custom.
        scores: what comes out: `logits`, of which a softmax makes `probabilities`.
        lineage: where it comes from, as the studio wrote it; empty of anybody else's model.
        opset: of the standard operators. quantised: it computes with integers.
        outside: files beside it that hold weights.
    """

    task: str
    input: str
    output: str
    layout: Literal["NCHW", "NHWC"]
    dtype: Literal["float32", "float16", "uint8"]
    channels: int
    height: int
    width: int
    batch: int
    labels: tuple[str, ...]
    labelled: bool
    preprocessing: Preprocessing
    told: bool
    scores: Literal["logits", "probabilities"] = "logits"
    lineage: Mapping[str, Any] = field(default_factory=dict)
    opset: int = 0
    quantised: bool = False
    outside: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """One model.

    Attributes:
        id: what clients write; a path relative to its root, without suffix; may hold slashes.
        family: a name from `wire.families` for picture models, and for the LoRAs, embeddings and VAEs that
            fit one; None where it is not known.
        variant: one of the family's; "" is the plain one.
        path: the folder or the file.
        layout: `folder` (diffusers) or `single` (one `.safetensors`).
        weights_bytes: of all tensors as stored.
        parameters: number of scalars in all tensors.
        dtype: the stored type of most scalars: `float16`, `float32`, `bfloat16` …; `unknown` without tensors.
        digest: SHA-256 over the headers, which changes when the weights' layout does. Cheap; not a checksum.
        builtin: it came with the package.
        problem: why it cannot be used, or None when it can. May end in a line that starts with `hint: `.
        root: which of the registered folders holds it.
        parts: components that the model itself lacks, and where they were found: `text_encoder`,
            `text_encoder_2`, `text_encoder_3`, `vae`, `tokenizer` … → a file, or a component's folder; of a
            language model `mmproj`, its projector.
        fits: the families that a LoRA, an embedding or a VAE can serve, of a language model's adapter the
            architecture; empty where that is not known.
        role: of a part that stands alone: `clip_l`, `clip_g`, `clip_h`, `t5`, `umt5`, `qwen2.5-vl`, `clip`
            (a width of its own); `vae` (two dimensions), `vae_3d`; None for everything else.
        widths: of a model by component, of a part under its role: columns of what a text encoder writes,
            latent channels of a VAE, columns of the stream through a transformer.
        needs: what `parts` must hold; `named_parts` says by slot which one the sidecar asks for.
        part_parameters: number of scalars of each of `parts`, which `parameters` does not count.
        lora: of a LoRA, what it changes.
        language, speech, projector, vision: of a model of that kind.
    """

    id: ModelId
    kind: ModelKind
    family: str | None
    path: Path
    layout: Literal["folder", "single"]
    weights_bytes: int
    parameters: int
    dtype: str
    digest: str
    root: Path
    title: str = ""
    builtin: bool = False
    created: float = 0.0
    licence: str | None = None
    description: str = ""
    image: ImageDefaults | None = None
    problem: str | None = None
    variant: str = ""
    parts: dict[str, Path] = field(default_factory=dict)
    fits: tuple[str, ...] = ()
    role: str | None = None
    widths: dict[str, int] = field(default_factory=dict)
    needs: tuple[Need, ...] = ()
    named_parts: dict[str, str] = field(default_factory=dict)
    part_parameters: dict[str, int] = field(default_factory=dict)
    lora: LoraFacts | None = None
    language: LanguageFacts | None = None
    speech: SpeechFacts | None = None
    projector: ProjectorFacts | None = None
    vision: VisionFacts | None = None
    engine: str = "diffusers"
    """What draws with a picture model: `diffusers`, or `mlx` with one that was converted for it."""

    converted_from: str = ""
    """Of a converted model: the digest of the one that it was made of."""

    components: dict[str, int] = field(default_factory=dict)
    """Bytes by component: `unet` or `transformer`, `vae`, `text_encoder` …; `ema`, in some single files, is
    not loaded. Of GGUF files `layers`, `embeddings`, `output`, `other`."""

    @property
    def is_adapter(self) -> bool:
        """Whether it is a LoRA of a language model, which draws nothing."""
        return self.lora is not None and LANGUAGE_MODEL in self.lora.touches

    @property
    def read_bytes(self) -> int:
        """What a load reads from the disk: its own files, and borrowed parts as if they were stored alike."""
        borrowed = sum(self.part_parameters.values())
        return self.weights_bytes + self.weights_bytes * borrowed // max(self.parameters, 1)

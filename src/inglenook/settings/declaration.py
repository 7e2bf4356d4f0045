# SPDX-License-Identifier: Apache-2.0
"""Every setting, declared once. The example file, the reference page and all checks come from here."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from platformdirs import user_data_path
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from inglenook.base.units import GIB, KIB, MIB, TIB
from inglenook.settings.fields import (
    Budgets,
    Bytes,
    DatabaseUrl,
    Devices,
    Folder,
    FolderOrNone,
    Folders,
    HostNames,
    LoopbackHost,
    ModelName,
    ModelNames,
    Password,
    Ports,
    Seconds,
    SecondsOrNever,
    ServerProgram,
    Share,
    WebAddress,
    Whole,
    WholeOrAuto,
    WholeOrOff,
)

SCHEMA_VERSION = 1
"""Of the file. Rises when a setting is renamed or changes its meaning; see `document.migrate`."""


def default_data_folder() -> Path:
    """Where this platform keeps a program's data for one person."""
    return user_data_path("inglenook", appauthor=False)


def setting(
    default: Any = None,
    *,
    says: str,
    accepts: str,
    unit: str | None = None,
    default_text: str | None = None,
    example: str | None = None,
    none: str = "",
    early: bool = False,
    secret: bool = False,
    **checks: Any,
) -> Any:
    """Declare a setting.

    Args:
        default: the value, or a function that makes it.
        says: one sentence for people.
        accepts: what may be written, in words; numeric bounds are added from `checks`.
        unit: of a number, as its name ends.
        default_text: how the default reads where the value says too little or differs between machines.
        example: what the example file shows where the default differs between machines.
        none: the word for None in the file and in the environment.
        early: needed before the database is open, so no override in the database can change it.
        secret: never shown.
        checks: `ge`, `gt`, `le`, `lt`, `min_length`, `max_length` as in pydantic.
    """
    extra: JsonDict = {
        "accepts": accepts,
        "unit": unit,
        "default_text": default_text,
        "example": example,
        "none": none,
        "early": early,
        "secret": secret,
    }
    if callable(default):
        return Field(default_factory=default, description=says, json_schema_extra=extra, **checks)
    return Field(default, description=says, json_schema_extra=extra, validate_default=True, **checks)


class Section(BaseModel):
    """Settings of one topic."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ServerSettings(Section):
    """How the server is reached, and where it keeps what is its own."""

    host: LoopbackHost = setting(
        "127.0.0.1",
        says="Address to listen on; only this machine's own, as long as there are no accounts.",
        accepts="127.0.0.0/8, ::1 or localhost",
        early=True,
    )
    port: Whole = setting(
        8190,
        says="Port to listen on; 0 takes any that is free.",
        accepts="whole number",
        unit="port",
        ge=0,
        le=65535,
        early=True,
    )
    data: Folder = setting(
        default_data_folder,
        says="Folder for all that is kept; a relative path in a file counts from that file's folder.",
        accepts="folder",
        default_text="the platform's folder for data of programs (Linux: ~/.local/share/inglenook)",
        example="~/inglenook",
        early=True,
    )
    allowed_hosts: HostNames = setting(
        (),
        says="Further host names under which browsers may reach the server, for instance behind a tunnel.",
        accepts="list of host names",
        max_length=64,
        early=True,
    )
    max_upload_bytes: Bytes = setting(
        32 * MIB,
        says="Largest body of a request; larger ones are refused before they are read.",
        accepts="amount of memory",
        unit="bytes",
        ge=64 * KIB,
        le=4 * GIB,
    )
    log_level: Literal["debug", "info", "warning", "error"] = setting(
        "info",
        says="Least important messages that are still written to the log; prompts are never written.",
        accepts="debug, info, warning or error",
        early=True,
    )
    admin_password: Password = setting(
        None,
        says="Password of whoever may change settings and delete models, until there are accounts; without "
        "one, everybody on this machine may.",
        accepts="8 to 1024 characters, or empty",
        none="",
        early=True,
        secret=True,
    )
    health: Literal["cyber-inference", "alice"] = setting(
        "cyber-inference",
        says="Whose word for a server that is well /health says: healthy, or ok; /api/health always says ok.",
        accepts="cyber-inference or alice",
    )


class RuntimeSettings(Section):
    """The accelerator, and who may use it."""

    devices: Devices = setting(
        "auto",
        says="Devices that models may use, the best first; auto takes all that are found.",
        accepts="auto, or a list of devices like cuda:0, rocm:0, mps, cpu",
    )
    budgets: Budgets = setting(
        dict[str, int],
        says="Memory that models may fill on a device; else all but the reserve, and 70 % of the CPU's.",
        accepts="map from a device to an amount of memory",
        unit="bytes",
        max_length=64,
    )
    reserve_bytes: Bytes = setting(
        1 * GIB,
        says="Memory left free on each accelerator for the screen and for other programs.",
        accepts="amount of memory",
        unit="bytes",
        ge=0,
        le=1 * TIB,
    )
    cpu_threads: WholeOrAuto = setting(
        None,
        says="CPU threads of one model's process; auto leaves it to the numeric library.",
        accepts="whole number, or auto",
        unit="threads",
        none="auto",
        ge=1,
        le=1024,
    )
    idle_unload_s: SecondsOrNever = setting(
        300.0,
        says="A model that nobody has used for so long is unloaded; never keeps it until memory is short.",
        accepts="number, or never",
        unit="seconds",
        none="never",
        ge=1,
        le=7 * 86400,
    )
    max_loaded: WholeOrAuto = setting(
        None,
        says="Models that may be loaded at once, those being loaded and unloaded counted; auto leaves it to "
        "memory.",
        accepts="whole number, or auto",
        unit="models",
        none="auto",
        ge=1,
        le=1024,
    )
    read_ahead: bool = setting(
        True,
        says="Read the files of the model that is loaded next while it waits for its memory.",
        accepts="true or false",
    )
    start_timeout_s: Seconds = setting(
        120.0,
        says="A model that is not loaded after so long is given up.",
        accepts="number",
        unit="seconds",
        ge=1,
        le=3600,
    )
    cancel_grace_s: Seconds = setting(
        10.0,
        says="Time that a cancelled picture gets to stop at its next step before its process is ended.",
        accepts="number",
        unit="seconds",
        ge=0.1,
        le=600,
    )
    stop_grace_s: Seconds = setting(
        5.0,
        says="Time that a model's process gets to end by itself before it is killed.",
        accepts="number",
        unit="seconds",
        ge=0,
        le=300,
    )
    switch_patience_s: Seconds = setting(
        5.0,
        says="Requests for a loaded model may go before one that would unload it, for at most so long.",
        accepts="number",
        unit="seconds",
        ge=0,
        le=600,
    )
    training_share: Share = setting(
        0.2,
        says="Of its device's time, what a training gets at least while others want it; 1 never parks.",
        accepts="share",
        unit="share",
        ge=0,
        le=1,
    )
    training_slice_s: Seconds = setting(
        30.0,
        says="A training that came back works at least so long, and one that is parked rests so long.",
        accepts="number",
        unit="seconds",
        ge=1,
        le=86400,
    )
    park_grace_s: Seconds = setting(
        60.0,
        says="Time that a training gets to free its device, or to come back, before its process is ended.",
        accepts="number",
        unit="seconds",
        ge=1,
        le=3600,
    )
    aging_s: Seconds = setting(
        60.0,
        says="After waiting so long, a request counts as one class more urgent, and so on.",
        accepts="number",
        unit="seconds",
        ge=1,
        le=86400,
    )


class JobSettings(Section):
    """Work that takes longer than a request."""

    queue_limit: Whole = setting(
        1000,
        says="Unfinished jobs that are kept; further ones are refused, with the time to wait.",
        accepts="whole number",
        unit="jobs",
        ge=1,
        le=100_000,
    )
    person_limit: Whole = setting(
        200,
        says="Unfinished jobs of one person that are kept.",
        accepts="whole number",
        unit="jobs",
        ge=1,
        le=100_000,
    )
    max_active: Whole = setting(
        64,
        says="Jobs of one class (interactive, batch, training) that ask for the accelerator at once.",
        accepts="whole number",
        unit="jobs",
        ge=1,
        le=1024,
    )


class ImageSettings(Section):
    """What one request for pictures may ask for."""

    default_model: ModelName = setting(
        "auto",
        says="Model that draws when a request names none; auto chooses among those that are there.",
        accepts="auto, or the id of a model",
    )
    max_side_px: Whole = setting(
        2048,
        says="Longest side of a picture that may be asked for.",
        accepts="whole number",
        unit="pixels",
        ge=64,
        le=4096,
    )
    max_pixels: Whole = setting(
        4_194_304,
        says="Most pixels (width times height) of a picture that may be asked for.",
        accepts="whole number",
        unit="pixels",
        ge=64 * 64,
        le=4096 * 4096,
    )
    max_input_pixels: Whole = setting(
        64_000_000,
        says="Most pixels of a picture or mask that is sent to be changed; larger ones are not decoded.",
        accepts="whole number",
        unit="pixels",
        ge=64 * 64,
        le=268_435_456,
    )
    max_pictures: Whole = setting(
        10,
        says="Most pictures that one request may ask for.",
        accepts="whole number",
        unit="pictures",
        ge=1,
        le=32,
    )
    max_steps: Whole = setting(
        150,
        says="Most steps that one request may ask for.",
        accepts="whole number",
        unit="steps",
        ge=1,
        le=500,
    )
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = setting(
        "auto",
        says="Precision that picture models are loaded in; auto takes float16 on a GPU, float32 on a CPU.",
        accepts="auto, float32, float16 or bfloat16",
    )
    saving: WholeOrAuto = setting(
        None,
        says="How hard memory is spared from the start: 0 not at all, 1 slices, 2 also VAE tiles, 3 also "
        "parts kept in host memory; auto takes the least with which a model fits its device.",
        accepts="level, or auto",
        unit="levels",
        none="auto",
        ge=0,
        le=3,
    )
    vae_on_cpu: bool = setting(
        False,
        says="Whether pictures are encoded and decoded in host memory in float32; slow, and never short of "
        "GPU memory.",
        accepts="true or false",
    )
    compile: Literal["off", "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"] = (
        setting(
            "off",
            says="Mode of torch.compile for the denoising network; the first picture waits for it, later "
            "ones are faster, and the result is kept on disk.",
            accepts="off, default, reduce-overhead, max-autotune or max-autotune-no-cudagraphs",
        )
    )
    profile: Literal["auto", "none", "gfx1102", "gfx1103"] = setting(
        "auto",
        says="Environment for AMD GPUs that need one of their own; auto asks the kernel which GPU it is.",
        accepts="auto, none, gfx1102 or gfx1103",
    )
    block_nsfw: bool = setting(
        False,
        says="Refuse prompts with plainly pornographic words, whichever way they come in.",
        accepts="true or false",
    )
    link_lifetime_s: SecondsOrNever = setting(
        None,
        says="How long a signed address of a picture (/images/…) works; never lets it end with the picture.",
        accepts="number, or never",
        unit="seconds",
        none="never",
        ge=60,
        le=3650 * 86400,
    )


class PixelSettings(Section):
    """Pixel art: turning pictures into sprites."""

    default_model: ModelName = setting(
        "auto",
        says="Model that draws sprites when a request names none; auto takes the one that draws pictures.",
        accepts="auto, or the id of a model",
    )
    max_frames: Whole = setting(
        64, says="Frames that an animation may have.", accepts="whole number", unit="frames", ge=1, le=64
    )
    keep_warm_s: SecondsOrNever = setting(
        300.0,
        says="The process that makes sprites ends after nobody has asked for one for so long; the next "
        "request starts it again, which takes a fraction of a second.",
        accepts="number, or never",
        unit="seconds",
        none="never",
        ge=1,
        le=7 * 86400,
    )
    memory_bytes: Bytes = setting(
        2 * GIB,
        says="Memory that the process which makes sprites may take (Linux counts it).",
        accepts="amount of memory",
        unit="bytes",
        ge=256 * MIB,
        le=1 * TIB,
    )
    pixelai_port: WholeOrOff = setting(
        None,
        says="Further port, on 127.0.0.1 only, at whose root PixelAI's API stands, for its unchanged "
        "extension (which asks on 5000); 0 takes any that is free.",
        accepts="port, or off",
        unit="port",
        none="off",
        ge=0,
        le=65535,
        early=True,
    )


class LanguageSettings(Section):
    """Language models, and the llama.cpp that runs them."""

    server: ServerProgram = setting(
        "auto",
        says="The llama.cpp that is used; auto takes the first that works: the package xllamacpp, "
        "llama-server on PATH, our own folder (`inglenook engines`).",
        accepts="auto, package, path, own, or the path of a llama-server",
    )
    releases: WebAddress = setting(
        "https://api.github.com/repos/ggml-org/llama.cpp/releases",
        says="Where `inglenook engines install --release` asks which releases of llama.cpp there are; for a "
        "mirror that answers alike.",
        accepts="address",
    )
    default_model: ModelName = setting(
        "auto",
        says="Model that answers chats when a request names none; auto chooses among those that are there.",
        accepts="auto, or the id of a model",
    )
    embedding_model: ModelName = setting(
        "auto",
        says="Model that makes embeddings when a request names none; auto chooses among those there.",
        accepts="auto, or the id of a model",
    )
    speech_model: ModelName = setting(
        "auto",
        says="Model that writes down speech when a request names none; auto chooses among those there.",
        accepts="auto, or the id of a model",
    )
    context: WholeOrAuto = setting(
        None,
        says="Tokens of one conversation; auto takes what the model was trained for, up to max_context.",
        accepts="whole number, or auto",
        unit="tokens",
        none="auto",
        ge=256,
        le=16_777_216,
    )
    max_context: Whole = setting(
        32_768,
        says="Most tokens of one conversation, whatever a model or a request asks for.",
        accepts="whole number",
        unit="tokens",
        ge=256,
        le=16_777_216,
    )
    parallel: Whole = setting(
        4,
        says="Conversations that one loaded model carries on at once.",
        accepts="whole number",
        unit="conversations",
        ge=1,
        le=64,
    )
    flash_attention: Literal["auto", "on", "off"] = setting(
        "auto",
        says="Whether attention is computed in tiles, which saves memory; auto leaves it to llama.cpp.",
        accepts="auto, on or off",
    )
    cache_type_k: Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"] = setting(
        "f16",
        says="Type in which keys of past tokens are kept; smaller ones save memory.",
        accepts="f32, f16, bf16, q8_0, q5_1, q5_0, q4_1, q4_0 or iq4_nl",
    )
    cache_type_v: Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"] = setting(
        "f16",
        says="Type in which values of past tokens are kept; other than f16 needs flash attention.",
        accepts="f32, f16, bf16, q8_0, q5_1, q5_0, q4_1, q4_0 or iq4_nl",
    )


class SpeechSettings(Section):
    """Speech to text."""

    max_upload_bytes: Bytes = setting(
        256 * MIB,
        says="Largest recording that is received; for this one route instead of server.max_upload_bytes.",
        accepts="amount of memory",
        unit="bytes",
        ge=64 * KIB,
        le=4 * GIB,
    )
    max_duration_s: Seconds = setting(
        7200.0,
        says="Longest recording that is written down, in seconds of sound.",
        accepts="number",
        unit="seconds",
        ge=1,
        le=86_400,
    )
    compute_type: Literal[
        "auto", "float32", "float16", "bfloat16", "int8", "int8_float16", "int8_float32"
    ] = setting(
        "auto",
        says="With what speech models compute; auto is 8-bit integers on a CPU, half precision on a GPU.",
        accepts="auto, float32, float16, bfloat16, int8, int8_float16 or int8_float32",
    )
    ffmpeg: Literal["auto", "off"] = setting(
        "auto",
        says="Whether the program ffmpeg on PATH may read what nothing else here reads (M4A, MP4).",
        accepts="auto or off",
    )


class GallerySettings(Section):
    """Pictures that were made."""

    trash_days: Whole = setting(
        30,
        says="Days that a deleted picture lies in the trash before it is deleted for good.",
        accepts="whole number",
        unit="days",
        ge=1,
        le=3650,
    )
    public_hours: Whole = setting(
        168,
        says="Hours after which a public picture becomes private again where a request names none.",
        accepts="whole number",
        unit="hours",
        ge=1,
        le=8760,
    )
    page_size: Whole = setting(
        100,
        says="Pictures on a page of the gallery for clients that ask the server how many.",
        accepts="whole number",
        unit="pictures",
        ge=1,
        le=1000,
    )
    thumbnail_px: Whole = setting(
        256,
        says="Longest side of the small pictures that lists show.",
        accepts="whole number",
        unit="pixels",
        ge=64,
        le=1024,
    )


class StudioSettings(Section):
    """Projects: pictures with labels, and what is trained on them."""

    workspace: FolderOrNone = setting(
        None,
        says="Folder of the projects; one server at a time may use it.",
        accepts="folder, or empty",
        default_text="`studio` in the data folder",
        none="",
        early=True,
    )
    import_roots: Folders = setting(
        (),
        says="Folders from which pictures may be imported, with all below them; `incoming` in the "
        "workspace is always one.",
        accepts="list of folders",
        max_length=64,
    )
    max_upload_bytes: Bytes = setting(
        4 * GIB,
        says="Largest file or archive that may be sent to be imported; for these routes instead of "
        "server.max_upload_bytes.",
        accepts="amount of memory",
        unit="bytes",
        ge=64 * KIB,
        le=1 * TIB,
    )
    max_pixels: Whole = setting(
        64_000_000,
        says="Most pixels of a picture that is imported; larger ones are skipped, and the import says so.",
        accepts="whole number",
        unit="pixels",
        ge=64 * 64,
        le=268_435_456,
    )
    max_images: Whole = setting(
        1_000_000,
        says="Most pictures of one data set.",
        accepts="whole number",
        unit="pictures",
        ge=1,
        le=10_000_000,
    )
    import_memory_bytes: Bytes = setting(
        4 * GIB,
        says="Memory that the process which reads imported files may take (Linux counts it).",
        accepts="amount of memory",
        unit="bytes",
        ge=512 * MIB,
        le=1 * TIB,
    )
    trainings_at_once: WholeOrAuto = setting(
        None,
        says="How many experiments train at once; `auto` is one for each accelerator, or one without any.",
        accepts="whole number, or auto",
        none="auto",
        unit="experiments",
        ge=1,
        le=64,
    )
    checkpoint_every_s: Seconds = setting(
        120.0,
        says="A training writes its last checkpoint this often, beside that of each epoch: no more is "
        "lost if the machine fails.",
        accepts="number",
        unit="seconds",
        ge=1.0,
        le=86_400.0,
    )
    weights_hub: bool = setting(
        False,
        says="Weights that a training begins with and that are not here are fetched from huggingface.co or "
        "download.pytorch.org; each connection stands in `GET /v1/outgoing`.",
        accepts="true or false",
    )


class OutgoingSettings(Section):
    """What the server itself asks of other machines; every connection stands in `GET /v1/outgoing`."""

    offline: bool = setting(
        False,
        says="Open no connection to any other machine, whoever asks for it.",
        accepts="true or false",
    )
    allow: HostNames = setting(
        (),
        says="Hosts that may be asked, with all below them; empty allows every public one that is named.",
        accepts="list of host names",
        max_length=256,
    )
    private_hosts: HostNames = setting(
        (),
        says="Hosts that may be asked although their address is a private one, for instance a file server.",
        accepts="list of host names",
        max_length=64,
    )
    ports: Ports = setting(
        (80, 443),
        says="Ports that may be connected to.",
        accepts="list of ports",
        min_length=1,
        max_length=64,
    )


class ModelSettings(Section):
    """Where model files are."""

    folders: Folders = setting(
        (),
        says="Further folders with model files, read in place; `models` in the data folder is always one.",
        accepts="list of folders",
        max_length=64,
    )
    pinned: ModelNames = setting(
        (),
        says="Models that stay loaded once they are, whoever else needs the memory.",
        accepts="list of model ids",
        max_length=64,
    )


class StoreSettings(Section):
    """Where records are kept."""

    database_url: DatabaseUrl = setting(
        None,
        says="PostgreSQL database for the records; without it, an SQLite file in the data folder.",
        accepts="postgresql://USER:PASSWORD@HOST/DATABASE or sqlite:///FILE, or empty",
        none="",
        early=True,
        secret=True,
    )


class Settings(Section):
    """All settings of a server."""

    server: ServerSettings = Field(default_factory=ServerSettings)
    runtime: RuntimeSettings = Field(default_factory=RuntimeSettings)
    jobs: JobSettings = Field(default_factory=JobSettings)
    images: ImageSettings = Field(default_factory=ImageSettings)
    pixels: PixelSettings = Field(default_factory=PixelSettings)
    language: LanguageSettings = Field(default_factory=LanguageSettings)
    speech: SpeechSettings = Field(default_factory=SpeechSettings)
    gallery: GallerySettings = Field(default_factory=GallerySettings)
    studio: StudioSettings = Field(default_factory=StudioSettings)
    outgoing: OutgoingSettings = Field(default_factory=OutgoingSettings)
    models: ModelSettings = Field(default_factory=ModelSettings)
    store: StoreSettings = Field(default_factory=StoreSettings)

    @property
    def model_folders(self) -> tuple[Path, ...]:
        """All folders that hold models of the person; the data folder's own comes first."""
        return (self.server.data / "models", *self.models.folders)

    @property
    def studio_folder(self) -> Path:
        """The folder of the studio's projects."""
        return self.server.data / "studio" if self.studio.workspace is None else self.studio.workspace

    @property
    def import_roots(self) -> tuple[Path, ...]:
        """All folders from which pictures may be imported; the workspace's own comes first."""
        return (self.studio_folder / "incoming", *self.studio.import_roots)

    @property
    def engine_folder(self) -> Path:
        """The folder of programs that were installed for this server alone."""
        return self.server.data / "engines"

    @property
    def starter_folder(self) -> Path:
        """The folder of the starters: models out of packages, which count as built in."""
        return self.server.data / "starters"


def sections() -> Mapping[str, type[Section]]:
    """Each section's class by its name, in the order of the file."""
    found: dict[str, type[Section]] = {}
    for name, field in Settings.model_fields.items():
        assert isinstance(field.annotation, type)
        assert issubclass(field.annotation, Section)
        found[name] = field.annotation
    return found


def is_early(key: str) -> bool:
    """Whether the setting ``section.key`` is needed before the database is open."""
    section, _, name = key.partition(".")
    return bool(extra_of(sections()[section], name)["early"])


def extra_of(section: type[Section], name: str) -> dict[str, Any]:
    """What `setting` was told beside the checks."""
    extra = section.model_fields[name].json_schema_extra
    assert isinstance(extra, dict)
    return dict(extra)


def is_bytes(section: type[Section], name: str) -> bool:
    """Whether its numbers are amounts of memory."""
    return bool(extra_of(section, name)["unit"] == "bytes")

# SPDX-License-Identifier: Apache-2.0
"""A graph of ComfyUI as parameters: from the sampler along the links to words, model, LoRAs and size. Pure.

In the graph (`prompt`) a node is `{"class_type": …, "inputs": {name: value or [node, slot]}}` under its
number. The editor's own form (`workflow`) has values without names, in the order in which they are shown; the
nodes that matter are known here.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

MAX_NODES = 5000
MAX_STEPS = 64
"""Of a walk along links: longer ones go in circles."""

Node = Mapping[str, Any]
Graph = Mapping[str, Node]

_SAMPLERS: Mapping[str, tuple[str, str | None]] = {
    "euler": ("euler", None),
    "euler_ancestral": ("euler_a", None),
    "heun": ("heun", None),
    "lms": ("lms", None),
    "ddim": ("ddim", None),
    "lcm": ("lcm", None),
    "uni_pc": ("unipc", None),
    "uni_pc_bh2": ("unipc", None),
    "dpmpp_2m": ("dpm++_2m", None),
    "dpmpp_3m": ("dpm++_3m", None),
    "dpmpp_sde": ("dpm++_sde", None),
    "ipndm": ("pndm", None),
}
"""Its samplers → our scheduler."""
_SIGMAS = frozenset({"karras", "exponential", "beta", "sgm_uniform"})
_WORDS = ("text", "text_g", "text_l", "clip_l", "t5xxl", "prompt", "string", "value", "wildcard_text")
_CONDITIONS = ("conditioning", "conditioning_1", "conditioning_2", "conditioning_to", "conditioning_from")

_SHOWN: Mapping[str, Sequence[str]] = {
    "KSampler": ("seed", "", "steps", "cfg", "sampler_name", "scheduler", "denoise"),
    "KSamplerAdvanced": ("", "noise_seed", "", "steps", "cfg", "sampler_name", "scheduler"),
    "CLIPTextEncode": ("text",),
    "CheckpointLoaderSimple": ("ckpt_name",),
    "UNETLoader": ("unet_name",),
    "UnetLoaderGGUF": ("unet_name",),
    "LoraLoader": ("lora_name", "strength_model", "strength_clip"),
    "LoraLoaderModelOnly": ("lora_name", "strength_model"),
    "EmptyLatentImage": ("width", "height"),
    "EmptySD3LatentImage": ("width", "height"),
    "VAELoader": ("vae_name",),
    "RandomNoise": ("noise_seed",),
    "KSamplerSelect": ("sampler_name",),
    "BasicScheduler": ("scheduler", "steps", "denoise"),
    "CFGGuider": ("cfg",),
    "FluxGuidance": ("guidance",),
    "CLIPSetLastLayer": ("stop_at_clip_layer",),
}
"""The values of a node in the editor's form, in their order; nameless ones are of no interest."""


def of_graph(document: Any) -> dict[str, Any] | None:
    """What a `prompt` says; None when it is no graph, or nothing in it draws."""
    if not isinstance(document, dict) or len(document) > MAX_NODES:
        return None
    graph = {
        str(name): node
        for name, node in document.items()
        if isinstance(node, dict) and isinstance(node.get("inputs"), dict)
    }
    samplers = [name for name, node in graph.items() if "sampler" in _kind(node).lower() and _draws(node)]
    if not samplers:
        return None
    return _Reader(graph).read(min(samplers, key=lambda name: (_redraws(graph, name), name)))


def of_workflow(document: Any) -> dict[str, Any] | None:
    """What a `workflow` says: its known nodes as a graph."""
    nodes = document.get("nodes") if isinstance(document, dict) else None
    links = document.get("links") if isinstance(document, dict) else None
    if not isinstance(nodes, list) or len(nodes) > MAX_NODES:
        return None
    sources: dict[Any, list[Any]] = {}
    for link in links if isinstance(links, list) else []:
        if isinstance(link, list) and len(link) >= 3 and isinstance(link[0], int):
            sources[link[0]] = [str(link[1]), link[2]]
    graph = {}
    for node in nodes:
        if isinstance(node, dict) and "id" in node:
            graph[str(node["id"])] = {"class_type": node.get("type"), "inputs": _named(node, sources)}
    return of_graph(graph)


def _named(node: Mapping[str, Any], sources: Mapping[Any, list[Any]]) -> dict[str, Any]:
    kind, values, slots = node.get("type"), node.get("widgets_values"), node.get("inputs")
    names = _SHOWN.get(kind, ()) if isinstance(kind, str) else ()
    found: dict[str, Any] = {}
    if isinstance(values, list):
        found = {name: value for name, value in zip(names, values, strict=False) if name}
    for slot in slots if isinstance(slots, list) else []:
        link = slot.get("link") if isinstance(slot, dict) else None
        if isinstance(link, int) and link in sources and isinstance(slot.get("name"), str):
            found[slot["name"]] = sources[link]
    return found


def _kind(node: Node) -> str:
    kind = node.get("class_type")
    return kind if isinstance(kind, str) else ""


def _draws(node: Node) -> bool:
    """Not one that only names a sampler."""
    inputs = node["inputs"]
    return "latent_image" in inputs or ("positive" in inputs and "negative" in inputs) or "guider" in inputs


def _redraws(graph: Graph, name: str) -> bool:
    """Whether it works on what another sampler has drawn: a second pass."""
    at: Any = graph[name]["inputs"].get("latent_image")
    for _ in range(MAX_STEPS):
        node = _linked(graph, at)
        if node is None:
            return False
        if "sampler" in _kind(node).lower():
            return True
        inputs = node["inputs"]
        at = next((inputs[key] for key in ("samples", "latent", "pixels", "image") if key in inputs), None)
    return True


def _linked(graph: Graph, value: Any) -> Node | None:
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str | int):
        return graph.get(str(value[0]))
    return None


class _Reader:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def read(self, name: str) -> dict[str, Any]:
        sampler = self._graph[name]["inputs"]
        guider = self._inputs(sampler.get("guider"))
        noise, sigmas = self._inputs(sampler.get("noise")), self._inputs(sampler.get("sigmas"))
        choice = self._inputs(sampler.get("sampler"))
        every = {**choice, **sigmas, **noise, **guider, **sampler}
        positive = every.get("positive", guider.get("conditioning"))
        scheduler, levels = self._scheduler(every)
        denoise = self._value(every.get("denoise"))
        return {
            "prompt": self._words(positive, "positive"),
            "negative_prompt": self._words(every.get("negative"), "negative"),
            "seed": self._value(every.get("seed", every.get("noise_seed"))),
            "steps": self._value(every.get("steps")),
            "guidance_scale": self._guidance(positive, every),
            "scheduler": scheduler,
            "sigmas": levels,
            **self._model(every.get("model") or sigmas.get("model")),
            **self._latent(every.get("latent_image"), denoise),
            "vae": self._first("VAELoader", "vae_name"),
            "clip_skip": self._clip_skip(),
        }

    def _inputs(self, link: Any) -> Mapping[str, Any]:
        node = _linked(self._graph, link)
        return {} if node is None else node["inputs"]

    def _value(self, value: Any) -> Any:
        """A plain value, also one that comes from a node that holds nothing else."""
        for _ in range(MAX_STEPS):
            node = _linked(self._graph, value)
            if node is None:
                return None if isinstance(value, list | dict) else value
            inputs = node["inputs"]
            names = ("value", "seed", "noise_seed", "int", "float", "Value", "Number", "text", "string")
            value = next((inputs[name] for name in names if name in inputs), None)
        return None

    def _scheduler(self, inputs: Mapping[str, Any]) -> tuple[Any, Any]:
        sampler, levels = self._value(inputs.get("sampler_name")), self._value(inputs.get("scheduler"))
        if not isinstance(sampler, str):
            return None, None
        ours = _SAMPLERS.get(sampler)
        if ours is None:
            return sampler, levels
        return ours[0], levels if levels in _SIGMAS else None

    def _guidance(self, positive: Any, inputs: Mapping[str, Any]) -> Any:
        """FLUX has its guidance in the words' way, and a scale of 1 at the sampler."""
        for node in self._upwards(positive, "positive"):
            if "guidance" in node["inputs"]:
                return self._value(node["inputs"]["guidance"])
        return self._value(inputs.get("cfg"))

    def _words(self, link: Any, side: str) -> str:
        found: dict[str, None] = {}
        for node in self._upwards(link, side):
            for name in _WORDS:
                text = self._value(node["inputs"].get(name))
                if isinstance(text, str) and text.strip():
                    found[text] = None
        return ", ".join(found)

    def _upwards(self, link: Any, side: str) -> Iterator[Node]:
        """The nodes behind a condition, each once; where a node handles both sides, along one's own."""
        waiting, seen = [link], set[int]()
        while waiting and len(seen) < MAX_STEPS:
            node = _linked(self._graph, waiting.pop(0))
            if node is None or id(node) in seen:
                continue
            seen.add(id(node))
            yield node
            inputs = node["inputs"]
            waiting.extend(inputs[name] for name in (side, *_CONDITIONS) if name in inputs)

    def _model(self, link: Any) -> dict[str, Any]:
        loras: list[dict[str, Any]] = []
        for _ in range(MAX_STEPS):
            inputs = self._inputs(link)
            name = self._value(inputs.get("lora_name"))
            if isinstance(name, str):
                weight = self._value(inputs.get("strength_model", inputs.get("strength")))
                loras.append({"model": name, "weight": weight})
            for key in ("ckpt_name", "unet_name", "model_name", "gguf_name"):
                found = self._value(inputs.get(key))
                if isinstance(found, str):
                    return {"model": found, "loras": loras[::-1]}
            link = inputs.get("model")
        return {"model": None, "loras": loras[::-1]}

    def _latent(self, link: Any, denoise: Any) -> dict[str, Any]:
        """Size and mode, from where the first noise or the first picture comes."""
        for _ in range(MAX_STEPS):
            node = _linked(self._graph, link)
            if node is None:
                return {}
            inputs = node["inputs"]
            if "pixels" in inputs or "image" in inputs:
                masked = "mask" in inputs or "inpaint" in _kind(node).lower()
                return {"mode": "inpaint" if masked else "image", "strength": denoise}
            if "width" in inputs and "height" in inputs and "samples" not in inputs:
                size = {name: self._value(inputs[name]) for name in ("width", "height")}
                return {"mode": "text", **size}
            link = inputs.get("samples", inputs.get("latent"))
        return {}

    def _first(self, kind: str, name: str) -> Any:
        for node in self._graph.values():
            if _kind(node) == kind:
                return self._value(node["inputs"].get(name))
        return None

    def _clip_skip(self) -> Any:
        """There -1 is the last layer, -2 the one before it."""
        layer = self._first("CLIPSetLastLayer", "stop_at_clip_layer")
        return -layer if isinstance(layer, int) and not isinstance(layer, bool) else None

# SPDX-License-Identifier: Apache-2.0
"""The sections of docs/benchmarks.md, one for each part that is measured: figures to lines of Markdown."""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Found = dict[str, Any]

_MB, _KB = 1e6, 1e3


def server(found: Found) -> list[str]:
    probes = (
        ("idle", found["health_idle_ms"], ""),
        ("while a model loads", found["health_while_a_model_loads_ms"], "p99 under 50 ms"),
        ("while pictures are drawn", found["health_while_pictures_are_drawn_ms"], "p99 under 50 ms"),
    )
    return [
        "## The server",
        "",
        *_table(
            ("what", "measured", "expected before"),
            [
                (
                    "from the command to `/readyz`, first start on an empty folder",
                    _s(found["first_start_s"]),
                    "",
                ),
                ("the same, later starts", _s(found["start_s"]), "under 1 s of import and start"),
                ("processor time of that", _s(found["start_cpu_s"]), ""),
                ("resident memory of the idle server", f"{found['idle_rss_mb']:.0f} MB", "under 100 MB"),
                (
                    "the same after the first start, which has made the database",
                    f"{found['first_idle_rss_mb']:.0f} MB",
                    "",
                ),
                *(
                    (
                        f"`/health` {words}, p50 / p99 of {figures['samples']}",
                        f"{figures['p50']:.1f} / {figures['p99']:.1f} ms",
                        expected,
                    )
                    for words, figures, expected in probes
                ),
            ],
        ),
    ]


def page(found: Found) -> list[str]:
    return [
        "## What a page weighs",
        "",
        "All that a browser fetches for its first look at a page of an empty gallery: HTML, sheets, scripts and icons.",
        f"Expected: under {found['budget_bytes'] / _KB:.0f} kB uncompressed, and no request to another host.",
        "",
        *_table(
            ("page", "requests", "to other hosts", "as it is", "gzip", "as sent", "HTML / sheets / scripts"),
            [
                (
                    f"`{place}`",
                    figures["requests"],
                    figures["foreign_requests"],
                    f"**{figures['bytes'] / _KB:.0f} kB**",
                    f"{figures['gzip_bytes'] / _KB:.0f} kB",
                    f"{figures['sent_bytes'] / _KB:.0f} kB",
                    " / ".join(
                        f"{figures['kinds'].get(kind, 0) / _KB:.0f}"
                        for kind in ("text/html", "text/css", "text/javascript")
                    )
                    + " kB",
                )
                for place, figures in found["pages"].items()
            ],
        ),
    ]


def step_loop(found: Found) -> list[str]:
    return [
        "## Our step loop against `pipeline(...)`",
        "",
        "CPU seconds on one thread, in turn. Above 1: ours is faster. Expected: at least 0.97.",
        "",
        *_table(
            ("model", "diffusers", "ours", "ratio of speeds"),
            [
                (
                    name,
                    f"{figures['diffusers_cpu_s']:.3f} s",
                    f"{figures['ours_cpu_s']:.3f} s",
                    f"**{figures['speed_ratio']:.3f}**",
                )
                for name, figures in found.items()
            ],
        ),
    ]


def families(found: Found) -> list[str]:
    steps = {figures["steps"] for figures in found.values()}
    return [
        "## Every family against `pipeline(...)`",
        "",
        f"Random models of a few million parameters, 64 x 64 pixels, {max(steps)} steps, from the prompt to the pixels; the same",
        "steps, seed and settings on both sides. CPU seconds on one thread, in turn; above 1: ours is faster. Expected: at",
        "least 0.97, and pictures that differ by 0 or 1 of 255, so that the work is the same.",
        "",
        *_table(
            ("model", "diffusers", "ours", "ratio of speeds", "largest difference"),
            [
                (
                    name,
                    f"{figures['diffusers_cpu_s']:.3f} s",
                    f"{figures['ours_cpu_s']:.3f} s",
                    f"**{figures['speed_ratio']:.3f}**",
                    f"{figures['largest_difference_of_255']} of 255",
                )
                for name, figures in found.items()
            ],
        ),
    ]


def lora(found: Found) -> list[str]:
    ours, theirs = found["ours"], found["diffusers"]
    return [
        "## Changing the LoRAs",
        "",
        f"A LoRA of rank 16 on {found['layers']} layers ({found['lora_bytes'] / _MB:.1f} MB), a random model of Stable Diffusion 1's",
        f"structure, one step of 256 x 256 pixels ({found['step_cpu_s']:.2f} CPU s). Milliseconds of CPU time, and the share of that",
        "step. Diffusers keeps both LoRAs loaded as adapters, except where it says otherwise. Expected: under a tenth of a",
        "step, also with the file to be read.",
        "",
        *_table(
            ("change", "ours", "diffusers"),
            [
                (what, _change(ours.get(what)), _change(theirs.get(what)))
                for what in dict.fromkeys([*ours, *theirs])
            ],
        ),
    ]


def _change(figures: Found | None) -> str:
    return "" if figures is None else f"{figures['ms']:.1f} ms ({_percent(figures['share_of_step'])})"


def previews(found: Found) -> list[str]:
    return [
        "## Previews",
        "",
        "One preview for 512 x 512 pixels, from the latents to the PNG on disk, beside one step of a random network that is",
        "much smaller than a real one, so that the shares are upper bounds for a CPU. As often as the page asks for them.",
        "CPU seconds on one thread. Expected: at most 2 % of the step. The map of colours is measured once a model.",
        "",
        *_table(
            ("model", "network", "step", "preview", "at every", "share of a step", "map, once"),
            [
                (
                    name,
                    f"{figures['parameters'] / 1e6:.0f} M",
                    f"{figures['step_cpu_s']:.2f} s",
                    f"{figures['preview_cpu_s'] * 1000:.1f} ms",
                    f"step {figures['preview_every']}",
                    f"**{_percent(figures['share_of_step'])}**",
                    f"{figures['map_once_cpu_s'] * 1000:.0f} ms",
                )
                for name, figures in found.items()
            ],
        ),
    ]


def prompts(found: Found) -> list[str]:
    return [
        "## Reading a prompt again",
        "",
        "CLIP ViT-L of Stable Diffusion 1's size, random, with guidance; CPU seconds on one thread. Expected: the second",
        "time takes at most 2 % of the first.",
        "",
        *_table(
            ("what", "measured"),
            [
                ("a new prompt", f"{found['first_cpu_s'] * 1000:.0f} ms"),
                (
                    "the same with another seed",
                    f"{found['again_cpu_s'] * 1000:.2f} ms (**{_percent(found['share'])}**)",
                ),
            ],
        ),
    ]


def clients(found: Found) -> list[str]:
    one, many, slow = (
        found["one_client_pictures_per_s"],
        found["eight_clients"],
        found["eight_clients_and_a_slow_reader"],
    )
    return [
        "## Eight clients at once",
        "",
        "The model that ships, whole requests over HTTP. All are one person, as long as there are no accounts, so fairness",
        "here is that of arrival; turns between people are measured with the scheduler's tests.",
        "",
        *_table(
            ("what", "measured"),
            [
                ("one client alone", f"{one:.2f} pictures/s"),
                (
                    "eight clients",
                    f"{many['pictures_per_s']:.2f} pictures/s "
                    f"({found['throughput_ratio_eight_to_one']:.2f} times one client)",
                ),
                ("wait, median / longest", f"{many['median_wait_s']:.2f} / {many['longest_wait_s']:.2f} s"),
                (
                    "largest mean wait of a client over the smallest",
                    f"{many['largest_mean_wait_over_smallest']:.2f}",
                ),
                (
                    "eight clients beside one that never reads its stream",
                    f"{slow['pictures_per_s']:.2f} pictures/s "
                    f"({found['throughput_ratio_with_to_without_slow_reader']:.2f} of the throughput without it, "
                    "whose own picture is drawn too)",
                ),
            ],
        ),
    ]


def scheduler(found: Found) -> list[str]:
    return [
        "## The scheduler alone",
        "",
        "Fake engines, no processes.",
        "",
        "```json",
        json.dumps(found, indent=1),
        "```",
        "",
    ]


def parking(found: Found) -> list[str]:
    """An hour played with fakes, and a real training."""
    real = found["training"]
    same = "the same, bit for bit" if real["losses_equal"] and real["weights_equal"] else "NOT the same"
    return [
        "## Training that steps aside",
        "",
        f"An hour in which {found['people']} people ask for two other models without a pause, played with fakes (loads "
        "and parking take a second, other work three): what a training gets of the device, and how long others wait.",
        "",
        *_table(
            (
                "share asked for",
                "slice, s",
                "got",
                "times parked",
                "others wait, s (mean / most)",
                "decisions per CPU s",
            ),
            [
                (
                    f"{hour['share']:.0%}",
                    hour["slice_s"],
                    f"{hour['got']:.1%}",
                    hour["parked"],
                    f"{hour['wait_mean_s']} / {hour['wait_most_s']}",
                    hour["decisions_per_s"],
                )
                for hour in found["hours"]
            ],
        ),
        "",
        f"A real training on the CPU ({real['backbone']}, {real['parameters']:,} values, batches of {real['batch_size']} at "
        f"{real['side_px']} px, {real['device']}), parked {real['parked']} times: free after {real['park_s']} s, back after "
        f"{real['resume_s']} s (medians, from the wish); the process held {real['before_mib']} MiB before and "
        f"{real['after_mib']} MiB after (resident memory). The figures of its {real['epochs']} epochs and its weights at the "
        f"end are {same} as without parking.",
        "",
    ]


def gallery(found: Found) -> list[str]:
    """A column for each database that is installed."""
    databases = [name for name in ("sqlite", "postgresql") if name in found]
    return [
        f"## A gallery of {found['pictures']:,} pictures",
        "",
        "Calls of the gallery's service, records read and all, in milliseconds; a page is 48 pictures.",
        "",
        *_table(
            ("what", *databases),
            [(what, *(found[name]["ms"][what] for name in databases)) for what in found[databases[0]]["ms"]],
        ),
    ]


def accelerator(found: Found) -> list[str]:
    """What `benchmarks/accelerator.py` wrote on a machine with a GPU; nothing of it is measured again."""
    machine = found["machine"]
    return [
        "## Models of real size on a GPU",
        "",
        f"Not part of this run: measured {machine['date']} on {machine['device']} (torch {machine['torch']}, diffusers "
        f"{machine['diffusers']}; {machine['clock']}) by",
        "`python -m benchmarks.accelerator`. Random weights of the real sizes. Steps a second without reading the prompt",
        "and decoding, seconds a picture with both; the memory is the most that tensors took at once. Compiled with what",
        "diffusers recommends, on both sides. Ratios above 1: ours is faster. Expected: at least 0.97 of diffusers.",
        "",
        *_table(
            (
                "model",
                "",
                "ours",
                "diffusers",
                "ratio of steps",
                "ratio of pictures",
                "peak, ours / diffusers",
            ),
            [
                (
                    f"{name}, {part['side_px']}², {part['dtype']}, {part['steps']} steps",
                    kind if kind == "as it is" else f"{kind} ({part['compile']})",
                    _speed(part["ours"]),
                    _speed(part["diffusers"]),
                    f"**{part['speed_ratio']:.3f}**",
                    f"{part['picture_ratio']:.3f}",
                    f"{_gb(part['ours']['peak_gb'])} / {_gb(part['diffusers']['peak_gb'])}",
                )
                for name, kinds in found["models"].items()
                for kind, part in kinds.items()
                if "ours" in part
            ],
        ),
        "What previews, as often as the page asks for them, add to a picture. Expected: at most 2 %.",
        "",
        *_table(
            ("model", "a preview at every", "share of a picture"),
            [
                (
                    name,
                    f"step {kinds['previews']['preview_every']}",
                    _percent(kinds["previews"]["share_of_picture"]),
                )
                for name, kinds in found["models"].items()
                if "previews" in kinds
            ],
        ),
        *(line for note in found.get("notes", ()) for line in (note, "")),
    ]


def _speed(side: Found) -> str:
    return f"{side['steps_per_s']:.2f} it/s, {side['picture_s']:.2f} s"


def _gb(value: float | None) -> str:
    return "not told" if value is None else f"{value:.1f} GB"


def _s(value: float) -> str:
    return f"{value:.2f} s"


def _percent(share: float) -> str:
    return f"{share * 100:.2f} %"


def _table(heads: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> list[str]:
    """With the empty line that ends it."""
    return [
        f"| {' | '.join(heads)} |",
        f"| {' | '.join('---' for _ in heads)} |",
        *(f"| {' | '.join(str(cell) for cell in row)} |" for row in rows),
        "",
    ]


def language(found: Found) -> list[str]:
    rows = []
    for clients, sides in found["clients"].items():
        for name, side in sides.items():
            added = (
                ""
                if name == "direct"
                else f"{side['added_ms']['p50']:+.1f} / {side['added_ms']['p99']:+.1f} ms"
            )
            rows.append(
                (
                    clients,
                    name,
                    f"{side['first_token_ms']['p50']:.1f} / {side['first_token_ms']['p99']:.1f} ms",
                    added,
                    f"{side['tokens_per_s']:.1f}",
                    "" if name == "direct" else f"**{_percent(side['share_of_direct'])}**",
                    "" if name == "direct" else f"{side['cpu_s_per_1000_tokens']:.2f} s",
                )
            )
    return [
        "## What our door adds to llama.cpp",
        "",
        "The same file, the same parameters, the same small client, in turn: llama.cpp's server called directly, through us,",
        "and through LiteLLM's proxy. Streamed chats with the prompt read before; time to the first token as p50 / p99; CPU",
        "seconds of what lies between for 1,000 tokens. Expected: at most 2 ms added at p50 with one client, at least 97 % of",
        "the direct throughput with 8, and several times less than LiteLLM.",
        "",
        *_table(
            (
                "clients",
                "way",
                "first token",
                "added",
                "tokens/s in all",
                "of direct",
                "CPU per 1,000 tokens",
            ),
            rows,
        ),
    ]


def loading(found: Found) -> list[str]:
    starts, swaps = found["start_s"], found["swap_s"]
    cold = found["page_cache_can_be_dropped"]
    return [
        "## Starting a language model",
        "",
        f"A file of {found['file_bytes'] / _MB:.0f} MB, seconds by the wall from the request to the first token; by hand: from the",
        "command of llama.cpp's own server, out of the same package, to the first token.",
        *(
            ()
            if cold
            else (
                "This system did not let the file be taken out of the page cache: nothing cold was measured.",
            )
        ),
        "",
        *_table(
            ("page cache", "ours", "by hand"),
            [
                (state, _s(starts["ours"][state]), _s(starts["by hand"][state]))
                for state in ("cold", "warm")
                if state in starts["ours"]
            ],
        ),
        "A chat that comes while pictures are drawn, on a device that holds one of the two; from the last picture to the",
        "first token, with the file out of the page cache before:",
        "",
        *_table(("the next model's file", "swap"), [(how, _s(seconds)) for how, seconds in swaps.items()]),
    ]


def fire(found: Found) -> list[str]:
    waits = found["wait_s"]
    return [
        "## One fire: chat and pictures on a device that holds one of the two",
        "",
        f"{found['clients']} clients for {found['seconds']:.0f} seconds, each asking for an answer and then for a picture, of a real",
        f"server with real children; the device's budget is {found['budget_bytes'] / _MB:.0f} MB, the two models use "
        + " and ".join(f"{size / _MB:.0f} MB" for size in found["footprints_bytes"].values())
        + ".",
        "",
        *_table(
            ("what", "seen", "expected"),
            [
                *(
                    (
                        f"{kind}: served; wait median / p99 / longest",
                        f"{found['served'][kind]}; {spread['median']:.1f} / {spread['p99']:.1f} / {spread['longest']:.1f} s",
                        "bounded",
                    )
                    for kind, spread in waits.items()
                ),
                ("requests lost, refused or cut off", sum(found["troubles"].values()), "0"),
                ("out of memory, in the server's log", found["out_of_memory_in_the_log"], "0"),
                (
                    "waits without a reason",
                    f"{found['waits_without_a_reason']} of {found['looks']} looks",
                    "0",
                ),
                ("looks at which more was reserved than there is", found["looks_over_budget"], "0"),
                *(
                    (
                        f"reserved over measured, {model}: median / at the end",
                        f"{ratio['median']:.3f} / {ratio['last']:.3f}",
                        "1 ± 0.1",
                    )
                    for model, ratio in found["reserved_over_measured"].items()
                ),
                ("most requests waiting at once", found["most_waiting"], ""),
                ("models loaded / unloaded", _loads(found["events"]), ""),
            ],
        ),
        "Reasons, by how often a waiting request told them: "
        + ", ".join(f"{kind} {count}" for kind, count in found["reasons"].items())
        + ".",
        "",
    ]


def _loads(events: Mapping[str, int]) -> str:
    return f"{events.get('ready', 0)} / {events.get('unloading', 0)}"


def training(found: Found) -> list[str]:
    return [
        "## Training against a bare Lightning script",
        "",
        "The same network, pictures, batches and one thread, in turn; CPU seconds of an epoch. Ours counts metrics, watches",
        "the loss, logs, and can be parked and resumed; the bare one does none of that. Reading: our loader against",
        "torchvision's `ImageFolder` with a `DataLoader`. Expected: at least 0.98 of the bare script's speed. The last",
        "column is the median over the pairs, the two before it medians of their own.",
        "",
        *_table(
            ("what", "theirs, CPU s", "ours, CPU s", "ours is so many times as fast"),
            [
                (
                    name,
                    f"{side['theirs_cpu_s']:.3f}",
                    f"{side['ours_cpu_s']:.3f}",
                    f"**{side['speed_ratio']:.3f}**",
                )
                for name, side in found.items()
            ],
        ),
        "",
    ]


def studio_data(found: Found) -> list[str]:
    sets = found["sets"]
    return [
        "## A data set of many small pictures",
        "",
        "JPEG files of 32 x 32 px, a folder each class, brought in by a real job with its child; then calls of the services,",
        f"medians in milliseconds. AI Studio took {found['original_thumbnail_ms']} ms for one thumbnail at 5,000 pictures.",
        "Expected: nothing but the import grows with the number of pictures, and a thumbnail takes under a tenth of that.",
        "",
        *_table(
            ("what", *(f"{one['pictures']:,} pictures" for one in sets)),
            [
                ("import", *(f"{one['import_s']:.1f} s" for one in sets)),
                *((name, *(f"{one['ms'][name]:.1f} ms" for one in sets)) for name in sets[0]["ms"]),
            ],
        ),
        "",
    ]


def exporting(found: Found) -> list[str]:
    names = {"none": "float32", "static": "int8, static"}
    return [
        "## What an export loses",
        "",
        f"The ONNX file against its checkpoint on every picture of the test part, {found['side_px']} px; differences of logits.",
        "The networks have learned for a moment only, so that classes lie close together. Expected: under 1e-4 in float32.",
        "",
        *_table(
            (
                "network",
                "file",
                "pictures",
                "largest difference",
                "mean",
                "largest logit",
                "same class",
                "size",
            ),
            [
                (
                    network,
                    names[kind],
                    side["pictures"],
                    f"{side['max_diff']:.1e}",
                    f"{side['mean_diff']:.1e}",
                    f"{side['largest_logit']:.1f}",
                    f"{side['agreement']:.1%}",
                    f"{side['file_bytes'] / 1e6:.2f} MB",
                )
                for network, kinds in found["networks"].items()
                for kind, side in kinds.items()
            ],
        ),
        "",
    ]


def aseprite(found: Found) -> list[str]:
    return [
        "## Sprites in Aseprite",
        "",
        "Processor time of the extension's Lua from the binary message to the finished cel, medians; PixelAI's extension took",
        "22 s to read the answer of 400 x 224, four times that for twice the pixels. Expected: under 0.1 s in RGB.",
        "",
        *_table(
            ("picture", "bytes", "RGB sprite", "indexed sprite"),
            [
                (size, one["bytes"], f"**{one['rgb']:.1f} ms**", f"{one['indexed']:.1f} ms")
                for size, one in found["decoding"].items()
            ],
        ),
        f"From the button to the layer, 32 x 32 with the starter model on one thread: {_s(found['button']['first_s'])} the first time,",
        f"when the model is loaded, {_s(found['button']['later_s'])} later.",
        "",
    ]


def pixels(found: Found) -> list[str]:
    known, starter, packages = found["truth"], found["starter"], found["packages"]
    names = (
        " and ".join(f"{name} {version}" for name, version in packages.items()) or "no package in this run"
    )
    return [
        "## From pictures to pixels",
        "",
        "`pixels.pipeline.pixelate` against the plain way (Pillow: nearest neighbour, then median cut) and two packages that do",
        f"the same job: {names}. CPU time on one thread from the decoded picture to",
        "the finished one, all ways in turn picture by picture.",
        "",
        f"Known sprites of 32 x 32 in {known['pictures']} pictures: enlarged by whole and fractional factors, then spoiled, and asked back",
        "with only the number of colours told. A cell is right within an OKLab distance of 0.02, which is just noticeable; a",
        "result of the wrong size is stretched before its cells are counted. Expected: ours finds the size in at least 95 %, has",
        "at least 97 % of the cells right and gives every sharp picture back bit for bit; the packages find the size of whole",
        "factors as often, but of fewer than half of the fractional ones; ours takes less time than either, at most 100 times",
        "that of the plain way, and under 100 ms.",
        "",
        *_table(
            ("way", "size right", "bit for bit", "cells right", "CPU, median", "times ours", "gave up"),
            [
                (
                    name,
                    "told" if "told" in name else f"{one['size']:.0%}",
                    f"{one['exact']:.0%}",
                    f"**{one['cells']:.1%}**",
                    f"{one['cpu_ms']:.1f} ms",
                    f"{one['times_ours']:.2f}",
                    one["gave_up"],
                )
                for name, one in known["ways"].items()
            ],
        ),
        "The same by what was done to the picture, and by the factor: size right / bit for bit / cells right, in per cent.",
        "",
        *_table(("what was done", *known["ways"]), _by(known["by_spoil"])),
        *_table(("enlarged by", *known["ways"]), _by(known["by_factor"])),
        *_held_out(found["held_out"]),
        f"Drawings of the starter ({starter['pictures']}, 32 x 32, by the worker), cut out by {starter['matted_by']}, enlarged 8 times with Lanczos;",
        "everybody is told the size (the packages that of a cell) and 16 colours. Means; `off` is the mean OKLab distance to the",
        "drawing. Expected of ours: at most 16 colours, alpha 0 and 255 alone, no farther off than the plain way.",
        "",
        *_table(
            ("way", "size right", "colours", "alpha values", "half transparent", "off", "CPU"),
            [
                (
                    "the drawing" if name == "before" else name,
                    f"{one['size']:.0%}",
                    f"{one['colors']:.1f}",
                    f"{one['alphas']:.1f}",
                    f"**{one['half']:.1%}**",
                    "" if one["off"] is None else f"{one['off']:.4f}",
                    "" if name == "before" else f"{one['cpu_ms']:.1f} ms",
                )
                for name, one in starter["ways"].items()
            ],
        ),
        "The middles of the same drawings (16 x 16, with the background), which are no tiles: the step over the seam over the",
        "mean step inside, the worse of both axes, and the share of the columns inside whose step is smaller; means. Expected: under",
        "1.25 as a tile.",
        "",
        *_table(
            ("way", "seam", "sharper than so many inside", "off"),
            [
                (
                    "the drawing" if name == "before" else name,
                    f"**{one['seam']:.2f}**",
                    f"{one['rank']:.0%}",
                    f"{one['off']:.4f}",
                )
                for name, one in starter["tiles"].items()
            ],
        ),
        *_joins(found["joins"]),
        "Matting a picture, CPU milliseconds on one thread: the model from file to file, the border in memory. Expected: 300 ms",
        "whatever the size, the border a tenth of that.",
        "",
        *_table(
            ("picture", "u2netp", "border alone"),
            [
                (
                    f"{side} x {side}",
                    "not there" if one["u2netp_ms"] is None else f"{one['u2netp_ms']:.0f} ms",
                    f"{one['border_ms']:.1f} ms",
                )
                for side, one in found["matting"].items()
            ],
        ),
    ]


def _held_out(found: Found) -> list[str]:
    return [
        "Sprites of other kinds, sizes and palettes (`tests/sprite_truth.py`), from seeds that nobody looked at before, ours with only the",
        f"number of colours told; enlarged by {', '.join(f'{factor:g}' for factor in found['factors'])}. Expected: the size of 95 %, and 95 % of the cells.",
        "",
        *_table(
            ("sprites", "pictures", "size right", "bit for bit", "cells right"),
            [
                (
                    name,
                    one["pictures"],
                    f"{one['size']:.0%}",
                    f"{one['exact']:.0%}",
                    f"**{one['cells']:.1%}**",
                )
                for name, one in found["makers"].items()
            ],
        ),
    ]


def _joins(found: Found) -> list[str]:
    """How well tiles join that were drawn beside others."""
    told = {
        "drawn": "what `continue_tile` draws",
        "itself": "the tile itself, cut as it is",
        "other half": "what belongs there",
    }
    return [
        f"Halves of the drawings (16 x 16, {found['pictures']}), which cut the subject, continued to the right and downwards by the starter: how well",
        "what lies beside them joins. Expected: what belongs there about 1, what is drawn 1.5 at most, the tile itself above 2.",
        "",
        *_table(
            ("beside the half", "seam", "sharper than so many inside"),
            [
                (told[name], f"**{one['error']:.2f}**", f"{one['rank']:.0%}")
                for name, one in found["beside"].items()
            ],
        ),
    ]


def _by(parts: Mapping[str, Mapping[str, Found]]) -> list[tuple[str, ...]]:
    return [
        (
            part,
            *(
                f"{one['size'] * 100:.0f} / {one['exact'] * 100:.0f} / {one['cells'] * 100:.1f}"
                for one in ways.values()
            ),
        )
        for part, ways in parts.items()
    ]


SECTIONS: Mapping[str, Callable[[Found], list[str]]] = {
    "server": server,
    "page": page,
    "step_loop": step_loop,
    "families": families,
    "lora": lora,
    "previews": previews,
    "prompts": prompts,
    "clients": clients,
    "gallery": gallery,
    "language": language,
    "loading": loading,
    "fire": fire,
    "scheduler": scheduler,
    "parking": parking,
    "training": training,
    "exporting": exporting,
    "studio_data": studio_data,
    "pixels": pixels,
    "aseprite": aseprite,
}
"""In the order of the page. Each is a module beside this one, run as a process of its own."""

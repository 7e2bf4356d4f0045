# SPDX-License-Identifier: Apache-2.0
"""What pictures of other programs tell, and what happens when they lie."""

import io
import json
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from inglenook.images import png
from inglenook.images.foreign import MAX_FOREIGN, alice_parameters, parameters_in, tidy
from inglenook.images.infotext import parameters_text
from inglenook.wire.schedulers import SCHEDULERS

# ruff: noqa: E501 - what other programs write is wide

GRAPH: dict[str, Any] = {
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "seed": ["20", 0],
            "steps": 22,
            "cfg": 6.5,
            "sampler_name": "dpmpp_2m",
            "scheduler": "karras",
            "denoise": 1.0,
            "model": ["11", 0],
            "positive": ["12", 0],
            "negative": ["7", 0],
            "latent_image": ["5", 0],
        },
    },
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sub\\dream.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 832, "height": 1216, "batch_size": 1}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": ["21", 0], "clip": ["4", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["4", 1]}},
    "10": {
        "class_type": "LoraLoader",
        "inputs": {"lora_name": "a.safetensors", "strength_model": 0.5, "model": ["4", 0], "clip": ["4", 1]},
    },
    "11": {
        "class_type": "LoraLoaderModelOnly",
        "inputs": {"lora_name": "b.safetensors", "strength_model": -1, "model": ["10", 0]},
    },
    "12": {
        "class_type": "ControlNetApplyAdvanced",
        "inputs": {"positive": ["6", 0], "negative": ["7", 0], "strength": 1.0},
    },
    "20": {"class_type": "PrimitiveInt", "inputs": {"value": 1234}},
    "21": {"class_type": "String Literal", "inputs": {"string": "a red fox"}},
    "30": {"class_type": "VAELoader", "inputs": {"vae_name": "fine.safetensors"}},
    "40": {
        "class_type": "KSampler",
        "inputs": {
            "seed": 9,
            "steps": 8,
            "denoise": 0.4,
            "model": ["4", 0],
            "positive": ["6", 0],
            "negative": ["7", 0],
            "latent_image": ["41", 0],
        },
    },
    "41": {"class_type": "LatentUpscaleBy", "inputs": {"samples": ["3", 0], "scale_by": 1.5}},
}


def saved(**texts: str) -> bytes:
    info = PngImagePlugin.PngInfo()
    for name, text in texts.items():
        info.add_itxt(name.replace("__", "-"), text)
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "PNG", pnginfo=info)
    return out.getvalue()


def test_a_graph_of_comfyui_is_followed_to_words_model_loras_and_size() -> None:
    assert parameters_in(saved(prompt=json.dumps(GRAPH))) == {
        "software": "ComfyUI",
        "prompt": "a red fox",
        "negative_prompt": "blurry",
        "seed": 1234,
        "steps": 22,
        "guidance_scale": 6.5,
        "scheduler": "dpm++_2m",
        "sigmas": "karras",
        "model": "dream",
        "loras": [{"model": "a", "weight": 0.5}, {"model": "b", "weight": -1.0}],
        "mode": "text",
        "width": 832,
        "height": 1216,
        "vae": "fine",
    }


def test_a_graph_for_flux_has_its_parts_in_nodes_of_their_own() -> None:
    graph = {
        "1": {
            "class_type": "SamplerCustomAdvanced",
            "inputs": {
                "noise": ["2", 0],
                "guider": ["3", 0],
                "sampler": ["4", 0],
                "sigmas": ["5", 0],
                "latent_image": ["6", 0],
            },
        },
        "2": {"class_type": "RandomNoise", "inputs": {"noise_seed": 2**64 - 1}},
        "3": {"class_type": "BasicGuider", "inputs": {"model": ["7", 0], "conditioning": ["8", 0]}},
        "4": {"class_type": "KSamplerSelect", "inputs": {"sampler_name": "res_multistep"}},
        "5": {"class_type": "BasicScheduler", "inputs": {"scheduler": "simple", "steps": 4, "denoise": 1, "model": ["7", 0]}},
        "6": {"class_type": "EmptySD3LatentImage", "inputs": {"width": 1024, "height": 1024}},
        "7": {"class_type": "UNETLoader", "inputs": {"unet_name": "flux1-dev.safetensors"}},
        "8": {"class_type": "FluxGuidance", "inputs": {"guidance": 3.5, "conditioning": ["9", 0]}},
        "9": {"class_type": "CLIPTextEncodeFlux", "inputs": {"clip_l": "fox", "t5xxl": "a long fox"}},
    }  # fmt: skip
    found = parameters_in(saved(prompt=json.dumps(graph)))
    assert (found["prompt"], found["guidance_scale"], found["steps"]) == ("fox, a long fox", 3.5, 4)
    assert (found["model"], found["width"]) == ("flux1-dev", 1024)
    assert found["foreign"] == {
        "seed": str(2**64 - 1),
        "scheduler": "res_multistep",
        "sigmas": "simple",
    }


def test_a_picture_that_was_redrawn_says_so() -> None:
    graph = json.loads(json.dumps(GRAPH))
    graph["5"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["99", 0], "vae": ["4", 2]}}
    graph["3"]["inputs"]["denoise"] = 0.6
    found = parameters_in(saved(prompt=json.dumps(graph)))
    assert (found["mode"], found["strength"]) == ("image", 0.6)


def test_the_editors_own_form_is_read_where_the_graph_is_not_there() -> None:
    workflow = {
        "nodes": [
            {
                "id": 3,
                "type": "KSampler",
                "widgets_values": [77, "randomize", 20, 8, "euler", "normal", 1],
                "inputs": [
                    {"name": "model", "link": 1},
                    {"name": "positive", "link": 2},
                    {"name": "negative", "link": 3},
                    {"name": "latent_image", "link": 4},
                ],
            },
            {"id": 4, "type": "CheckpointLoaderSimple", "widgets_values": ["dream.ckpt"]},
            {"id": 5, "type": "EmptyLatentImage", "widgets_values": [512, 768, 1]},
            {"id": 6, "type": "CLIPTextEncode", "widgets_values": ["a fox"]},
            {"id": 7, "type": "CLIPTextEncode", "widgets_values": ["bad"]},
        ],
        "links": [[1, 4, 0, 3, 0, "MODEL"], [2, 6, 0, 3, 1, ""], [3, 7, 0, 3, 2, ""], [4, 5, 0, 3, 3, ""]],
    }
    found = parameters_in(saved(workflow=json.dumps(workflow)))
    assert found["prompt"] == "a fox"
    assert found["negative_prompt"] == "bad"
    assert (found["seed"], found["steps"], found["model"]) == (77, 20, "dream")
    assert (found["width"], found["height"], found["scheduler"]) == (512, 768, "euler")


@pytest.mark.parametrize("suffix", ["JPEG", "WEBP"])
def test_a_graph_in_a_cameras_tags_is_found(suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0110] = f"prompt:{json.dumps(GRAPH)}"
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, suffix, exif=exif)
    assert parameters_in(out.getvalue())["prompt"] == "a red fox"


def test_invokeais_metadata_is_read_old_and_new() -> None:
    new = {
        "positive_prompt": "a fox",
        "negative_prompt": "blur",
        "model": {"name": "Dream XL", "key": "k", "base": "sdxl"},
        "loras": [{"model": {"name": "style"}, "weight": 0.75}],
        "cfg_scale": 5.5,
        "steps": 30,
        "seed": 3,
        "scheduler": "unipc",
        "clip_skip": 1,
        "width": 1024,
        "height": 1024,
        "app_version": "5.0",
    }
    found = parameters_in(saved(invokeai_metadata=json.dumps(new)))
    assert (found["model"], found["scheduler"], found["clip_skip"]) == ("Dream XL", "unipc", 2)
    assert found["loras"] == [{"model": "style", "weight": 0.75}]
    assert found["foreign"] == {"app_version": "5.0"}
    old = {
        "model_weights": "stable-diffusion-1.5",
        "image": {"prompt": [{"prompt": "a fox [blur, bad]", "weight": 1}], "sampler": "k_lms", "cfg_scale": 7.5, "steps": 50, "seed": 1, "width": 512, "height": 512, "perlin": 0.1},
    }  # fmt: skip
    found = parameters_in(saved(sd__metadata=json.dumps(old)))
    assert (found["prompt"], found["negative_prompt"], found["scheduler"]) == ("a fox", "blur, bad", "lms")
    assert found["foreign"] == {"perlin": "0.1"}


def test_novelais_comment_is_read() -> None:
    said = {
        "prompt": "a fox",
        "uc": "blur",
        "scale": 5,
        "steps": 28,
        "sampler": "k_euler_ancestral",
        "seed": 4,
    }
    found = parameters_in(saved(Software="NovelAI", Comment=json.dumps(said), Source="Diffusion V4"))
    assert (found["scheduler"], found["guidance_scale"], found["model"]) == ("euler_a", 5.0, "Diffusion V4")


def test_a1111s_text_is_ours_and_what_is_not_ours_stands_apart() -> None:
    text = "a fox\nSteps: 3, Sampler: Restart, CFG scale: 99, Seed: -1, Model hash: ab, Version: v1.9"
    found = parameters_in(saved(parameters=text))
    assert (found["software"], found["steps"]) == ("A1111", 3)
    assert "scheduler" not in found
    assert "seed" not in found
    assert found["foreign"] == {
        "guidance_scale": "99.0",
        "seed": "-1",
        "scheduler": "Restart",
        "Model hash": "ab",
        "Version": "v1.9",
    }


@pytest.mark.parametrize(
    "record", [{}, {"prompt": 3, "steps": "x", "loras": "y", "model": None}, {"seed": True}]
)
def test_a_record_of_alice_may_lack_everything(record: dict[str, Any]) -> None:
    assert alice_parameters(record)["prompt"] == ""


def test_what_is_taken_up_can_be_drawn() -> None:
    wild = {
        "prompt": "p" * 50_000,
        "steps": 10**9,
        "seed": -5,
        "guidance_scale": float("inf"),
        "width": 0,
        "height": 64,
        "strength": 7,
        "clip_skip": 99,
        "loras": [{"model": "x", "weight": 1e300}, {"model": 3}, "no", {"model": "../../y.safetensors"}] * 20,
        "scheduler": "../x",
        "sigmas": ["karras"],
        "hires": {"width": -1, "steps": 10**9, "upscaler": "magic"},
        "image": "0" * 64,
        "seconds": "long",
    }
    found = tidy(wild)
    assert set(found) == {"prompt", "height", "loras", "foreign"}
    assert len(found["prompt"]) == 32_000
    assert found["loras"][:2] == [{"model": "x", "weight": 1.0}, {"model": "y", "weight": 1.0}]
    assert json.dumps(found, allow_nan=False)


hostile_texts = [
    "[" * 200_000,
    '{"a":' * 100_000,
    '{"3": {"class_type": "KSampler", "inputs": {"positive": ["3", 0], "latent_image": ["3", 0], "model": ["3", 0]}}}',
    json.dumps({str(n): {"class_type": "KSampler", "inputs": {"latent_image": [str(n + 1), 0]}} for n in range(4000)}),
    json.dumps({"1": {"class_type": ["x"], "inputs": {"seed": {"a": 1}, "positive": [[], 0], "negative": 3}}}),
    json.dumps({"1": {"class_type": "KSampler", "inputs": {"positive": [True, 0], "latent_image": None, "cfg": "9" * 5000}}}),
    '{"positive_prompt": {"x": 1}, "loras": [[[]]], "steps": 1e999, "seed": NaN, "clip_skip": true}',
    '{"image": {"prompt": [null, {"prompt": null}], "sampler": {}}}',
    '{"nodes": [{"id": {}, "type": []}, {"id": 1, "type": "KSampler", "widgets_values": {}, "inputs": "x"}], "links": [[{}]]}',
    "9" * 5000,
    "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("text", hostile_texts, ids=range(len(hostile_texts)))
@pytest.mark.parametrize(
    "name", ["prompt", "workflow", "invokeai_metadata", "sd-metadata", "Comment", "parameters"]
)
def test_hostile_texts_raise_nothing_and_give_only_json(name: str, text: str) -> None:
    body = name.encode() + b"\0\0\0\0\0" + text.encode("utf-8", "replace")
    header, *rest = png.chunks(saved(Software="NovelAI"))
    found = parameters_in(png.join([header, png.Chunk(b"iTXt", body), *rest]))
    assert json.dumps(found, allow_nan=False)


def test_a_bomb_in_packed_text_is_passed_over() -> None:
    bomb = zlib.compress(b" " * 100_000_000)
    header, *rest = png.chunks(saved())
    data = png.join([header, png.Chunk(b"zTXt", b"prompt\0\0" + bomb), *rest])
    assert parameters_in(data) == {}


def test_many_and_huge_texts_are_bounded() -> None:
    header, *rest = png.chunks(saved())
    many = [png.text_chunk(f"k{number}", "x") for number in range(5000)]
    huge = png.Chunk(b"tEXt", b"prompt\0" + b"x" * 10_000_000)
    assert parameters_in(png.join([header, *many, huge, *rest])) == {}
    wide = {f"k{number}": "v" * 3_000 for number in range(1000)}
    found = parameters_in(saved(invokeai_metadata=json.dumps({"positive_prompt": "a", **wide})))
    assert len(found["foreign"]) == MAX_FOREIGN
    assert sum(map(len, found["foreign"].values())) <= MAX_FOREIGN * 2000


def test_our_own_json_is_trusted_no_more_than_any_other() -> None:
    lying = {
        "inglenook": 1,
        "parameters": {
            "software": "inglenook",
            "prompt": "a",
            "steps": -1,
            "image": "x",
            "scheduler": "euler",
        },
    }
    found = parameters_in(saved(inglenook=json.dumps(lying)))
    assert (found["software"], found["scheduler"]) == ("inglenook", "euler")
    assert "steps" not in found
    assert "image" not in found


@given(
    st.binary(max_size=200), st.sampled_from([b"", png.SIGNATURE, b"\xff\xd8\xff\xe1", b"RIFF\x40\0\0\0WEBP"])
)
def test_noise_raises_nothing(noise: bytes, start: bytes) -> None:
    assert parameters_in(start + noise) == {}


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=10,
    )
)
def test_any_values_become_json(value: Any) -> None:
    names = ("prompt", "steps", "seed", "loras", "hires", "scheduler", "sigmas", "foreign", "mode", "x")
    for name in names:
        assert json.dumps(tidy({name: value}), allow_nan=False)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_what_we_write_for_others_we_read_back(scheduler: str) -> None:
    text = parameters_text({"prompt": "a fox", "steps": 4, "scheduler": scheduler, "seed": 1})
    assert parameters_in(saved(parameters=text))["scheduler"] == scheduler


def test_a_cut_exif_block_gives_what_stood_before_the_cut() -> None:
    block = b"II*\0" + struct.pack("<IH", 8, 3)
    data = b"\xff\xd8\xff\xe1" + struct.pack(">H", len(block) + 8) + b"Exif\0\0" + block + b"\xff\xda\0\2"
    assert parameters_in(data) == {}

# SPDX-License-Identifier: Apache-2.0
"""`inglenook models`, and what the doctor says of them, over real files."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.model_files import clip_shapes, flux_shapes, t5_shapes, vae_shapes, write_tensors

from inglenook.cli import program
from inglenook.cli.findings import Finding, Mark, models
from inglenook.settings import load

LORA = {"lora_unet_single_blocks_0_linear2.lora_down.weight": (8, 15),
        "lora_unet_single_blocks_0_linear2.lora_up.weight": (3, 8)}  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    write_tensors(folder / "unet" / "schnell.safetensors", flux_shapes(guided=False))
    write_tensors(folder / "text_encoders" / "clip_l.safetensors", clip_shapes())
    write_tensors(folder / "vae" / "ae.safetensors", vae_shapes())
    write_tensors(folder / "loras" / "one.safetensors", LORA)
    write_tensors(folder / "loras" / "two.safetensors", LORA)
    return tmp_path


def listed(data: Path, *arguments: str) -> str:
    result = CliRunner().invoke(program, ["models", "--data", str(data), *arguments], env={})
    assert result.exit_code == 0, result.output
    return result.output


def test_the_list_shows_the_variant_what_fits_and_what_is_missing(data: Path) -> None:
    shown = [" ".join(line.split()) for line in listed(data).splitlines()]
    rows = {line.split()[0]: line for line in shown if line}
    assert rows["unet/schnell"].startswith("unet/schnell image flux schnell")
    assert rows["unet/schnell"].endswith("cannot be used")
    assert rows["vae/ae"].startswith("vae/ae vae flux, sd3")
    assert rows["text_encoders/clip_l"].startswith("text_encoders/clip_l text_encoder clip_l")
    assert rows["loras/one"].startswith("loras/one lora flux")
    assert any("it needs the T5 text encoder (4096 columns)" in line for line in shown)


def test_json_has_every_fact(data: Path) -> None:
    write_tensors(data / "models" / "t5.safetensors", t5_shapes())
    records = {record["id"]: record for record in json.loads(listed(data, "--json"))}
    schnell = records["unet/schnell"]
    assert (schnell["variant"], schnell["problem"]) == ("schnell", None)
    assert schnell["parts"] == {
        "text_encoder": str(data / "models" / "text_encoders" / "clip_l.safetensors"),
        "text_encoder_2": str(data / "models" / "t5.safetensors"),
        "vae": str(data / "models" / "vae" / "ae.safetensors"),
    }
    assert records["loras/one"]["lora"] == {"rank": 8, "touches": ["transformer"], "pairs": 1}
    assert (records["vae/ae"]["fits"], records["vae/ae"]["role"]) == (["flux", "sd3"], "vae")


def test_the_doctor_counts_what_goes_with_models(data: Path) -> None:
    settings = load(file=None, environ={"INGLENOOK_SERVER__DATA": str(data)}).settings
    found = list(models(settings))
    assert Finding(Mark.OK, "models", "beside them: 2 LoRAs, 1 VAE, 1 text encoder") in found
    (lacking,) = [finding for finding in found if "schnell" in finding.text]
    assert lacking.mark is Mark.NOTE
    assert lacking.hint is not None
    assert "t5xxl" in lacking.hint

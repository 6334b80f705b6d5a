"""A built model is a Hugging Face directory, and any directory in that format that holds a Llama is served."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from safetensors import safe_open

from isochrone.building.manifest import MANIFEST
from isochrone.errors import ConfigError
from isochrone_llm.folder import DEFAULT_MAX_TOKENS, LlamaFolder
from isochrone_llm.manifest import CONFIG, GENERATION, INDEX, SAMPLES, TOKENIZER, WEIGHTS, Manifest


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    """A copy of the built model, to be damaged."""
    return shutil.copytree(built, tmp_path / built.name)


@pytest.fixture
def foreign(copy: Path) -> Path:
    """The same as someone else would have it: no manifest, any name."""
    (copy / MANIFEST).unlink()
    (copy / SAMPLES).unlink()
    return copy.rename(copy.with_name("someone-elses-llama"))


def change(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_config_is_hugging_faces(built: Path) -> None:
    """With the keys and values that its LlamaConfig reads."""
    config = json.loads((built / CONFIG).read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["model_type"] == "llama"
    assert (config["hidden_size"], config["num_hidden_layers"], config["head_dim"]) == (64, 2, 16)
    assert (config["num_attention_heads"], config["num_key_value_heads"]) == (4, 2)
    assert (config["bos_token_id"], config["eos_token_id"], config["pad_token_id"]) == (0, 1, 2)
    assert config["tie_word_embeddings"] is True
    assert json.loads((built / GENERATION).read_text())["eos_token_id"] == 1


def test_tensors_have_hugging_faces_names_and_shapes(built: Path) -> None:
    """Tied weights are stored once, and nothing is stored that isn't a weight."""
    with safe_open(built / WEIGHTS, "pt") as file:
        shapes = {name: tuple(file.get_tensor(name).shape) for name in file.keys()}  # noqa: SIM118 - not a mapping
        assert file.metadata() == {"format": "pt"}
    of_layer = {
        "self_attn.q_proj": (64, 64),
        "self_attn.k_proj": (32, 64),
        "self_attn.v_proj": (32, 64),
        "self_attn.o_proj": (64, 64),
        "mlp.gate_proj": (128, 64),
        "mlp.up_proj": (128, 64),
        "mlp.down_proj": (64, 128),
        "input_layernorm": (64,),
        "post_attention_layernorm": (64,),
    }
    assert shapes == {
        "model.embed_tokens.weight": (600, 64),
        "model.norm.weight": (64,),
        **{f"model.layers.{k}.{name}.weight": shape for k in range(2) for name, shape in of_layer.items()},
    }


def test_folder_knows_what_it_holds(llama: LlamaFolder) -> None:
    assert (llama.variant, llama.end_tokens, llama.default_max_tokens) == ("blurb.fp32", (1,), 64)
    assert repr(llama) == "<LlamaFolder blurb.fp32 of 112,448 parameters>"
    assert repr(llama.codec) == "<Codec of 600 tokens>"


def test_any_llama_directory_is_served(foreign: Path, llama: LlamaFolder) -> None:
    """Without a manifest it is taken as it is."""
    loaded = LlamaFolder.load(foreign)
    assert loaded.variant == "someone-elses-llama"
    tokens = torch.tensor([loaded.codec.encode("name: lamp")])
    torch.testing.assert_close(loaded.model(tokens), llama.model(tokens))


def test_weights_in_several_files_are_served(foreign: Path, llama: LlamaFolder) -> None:
    """As large models have them, with an index."""
    weights = safetensors.torch.load_file(foreign / WEIGHTS)
    (foreign / WEIGHTS).unlink()
    parts = {name: f"model-0000{1 + k % 2}-of-00002.safetensors" for k, name in enumerate(weights)}
    for part in set(parts.values()):
        safetensors.torch.save_file({name: weights[name] for name in weights if parts[name] == part}, foreign / part)
    (foreign / INDEX).write_text(json.dumps({"weight_map": parts}))
    tokens = torch.tensor([[1, 2, 3]])
    torch.testing.assert_close(LlamaFolder.load(foreign).model(tokens), llama.model(tokens))


def test_untied_head_is_served(foreign: Path) -> None:
    weights = safetensors.torch.load_file(foreign / WEIGHTS)
    weights["lm_head.weight"] = 2 * weights["model.embed_tokens.weight"]
    safetensors.torch.save_file(weights, foreign / WEIGHTS)
    tokens = torch.tensor([[1, 2, 3]])
    tied = LlamaFolder.load(foreign).model
    change(foreign / CONFIG, tie_word_embeddings=False)
    torch.testing.assert_close(LlamaFolder.load(foreign).model(tokens), 2 * tied(tokens))


def test_other_precision_is_served(built: Path) -> None:
    """Weights are converted on their way in."""
    model = LlamaFolder.load(built, dtype=torch.bfloat16).model
    assert model(torch.tensor([[1, 2]])).dtype == torch.bfloat16


def test_several_tokens_may_end_a_text(foreign: Path) -> None:
    """And a directory may say nothing of how it likes to be asked."""
    change(foreign / GENERATION, eos_token_id=[1, 5])
    assert LlamaFolder.load(foreign).end_tokens == (1, 5)
    (foreign / GENERATION).unlink()
    loaded = LlamaFolder.load(foreign)
    assert (loaded.end_tokens, loaded.default_max_tokens) == ((1,), DEFAULT_MAX_TOKENS)
    change(foreign / CONFIG, eos_token_id=None)
    assert LlamaFolder.load(foreign).end_tokens == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "qwen2"}, "model_type: not one that this service can run"),
        ({"hidden_act": "gelu"}, "hidden_act: not one"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "rope type: not one"),
        ({"num_key_value_heads": 3}, "num_key_value_heads: not one"),
        ({"hidden_size": "many"}, "config.json: hidden_size: 'many' is not a number above 0"),
        ({"num_hidden_layers": 0}, "num_hidden_layers: 0 is not a number above 0"),
        ({"hidden_size": 32}, "the weights don't fit config.json"),
        ({"vocab_size": 500}, "600 tokens in tokenizer.json, 500 in config.json"),
    ],
)
def test_what_would_be_run_wrongly_is_refused(foreign: Path, changes: dict[str, Any], message: str) -> None:
    """Nothing in a configuration that changes the numbers is ignored."""
    change(foreign / CONFIG, **changes)
    with pytest.raises(ConfigError, match=message):
        LlamaFolder.load(foreign)


def test_newer_rope_parameters_are_read(foreign: Path) -> None:
    """Hugging Face moved the base of the angles there."""
    change(foreign / CONFIG, rope_parameters={"rope_type": "default", "rope_theta": 99.0}, rope_theta=None)
    assert LlamaFolder.load(foreign).model.config.rope_theta == 99.0


@pytest.mark.parametrize("name", [CONFIG, TOKENIZER, WEIGHTS, GENERATION])
def test_damaged_file_is_not_served(copy: Path, name: str) -> None:
    """A file with other bytes than were built is refused by name."""
    with (copy / name).open("r+b") as file:
        file.seek(40)
        file.write(b"damage")
    with pytest.raises(ConfigError, match=f"{name}: its SHA-256 isn't .* `isochrone models build`"):
        LlamaFolder.load(copy)


@pytest.mark.parametrize("name", [CONFIG, TOKENIZER, WEIGHTS])
@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"damage")])
def test_unusable_file_is_named(foreign: Path, name: str, damage: Callable[[Path], object]) -> None:
    """Also where there is no manifest to hold it to."""
    damage(foreign / name)
    with pytest.raises(ConfigError, match=f"{name}|manifest"):
        LlamaFolder.load(foreign)


def test_missing_model_says_how_to_build_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"blurb\.fp32/manifest\.json: No such file.* `isochrone models build`"):
        LlamaFolder.load(tmp_path / "blurb.fp32")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 1}', '{"format": 0}', "\x00"])
def test_unreadable_manifest_is_named(copy: Path, text: str) -> None:
    (copy / MANIFEST).write_text(text)
    with pytest.raises(ConfigError, match=r"manifest\.json: .* `isochrone models build`"):
        LlamaFolder.load(copy)


def test_folder_of_another_variant_is_refused(copy: Path) -> None:
    """A lane is named for the variant, so a folder that holds another would serve under a wrong name."""
    other = copy.rename(copy.with_name("blurb.int8"))
    with pytest.raises(ConfigError, match=r"blurb\.int8: holds blurb\.fp32, not blurb\.int8"):
        LlamaFolder.load(other)


def test_device_that_torch_lacks_is_refused(built: Path) -> None:
    """No silent fall back to the CPU under the name of an accelerator."""
    for device in ("tpu", *(() if torch.cuda.is_available() else ("cuda",))):
        with pytest.raises(ConfigError, match=f"device '{device}': this torch can't use it"):
            LlamaFolder.load(built, device=device)


def test_manifest_says_how_large_and_how_good(built: Path) -> None:
    manifest = Manifest.read(built)
    assert (manifest.shapes.parameters, manifest.shapes.vocabulary, manifest.shapes.context) == (112_448, 600, 128)
    assert manifest.metrics.keys() == {"parsed", "right"}

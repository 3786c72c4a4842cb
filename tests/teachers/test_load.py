"""Weights: what loads, what is refused, and what the fingerprint notices."""

import pickle
import socket
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.teachers.ports import CLIP, DEPTH_ANYTHING, RADIO, SAM
from viral.errors import ConfigError, UnknownNameError, WeightsError
from viral.teachers import get_teacher
from viral.teachers.load import load_teacher
from viral.teachers.pos_embed import resample_like_dinov2
from viral.teachers.profiles import Profile, get_profile
from viral.teachers.registry import TEACHERS
from viral.teachers.spec import TeacherSpec

SMALL = TeacherSpec(
    name="small",
    architecture="vit_small_patch14_dinov2.lvd142m",
    kwargs={"embed_dim": 32, "depth": 2, "num_heads": 2},
    dim=32,
    image_size=56,
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A DINOv2-shaped checkpoint on its native 37 x 37 grid, saved as timm would."""
    folder = tmp_path_factory.mktemp("weights")
    native = load_teacher(replace(SMALL, image_size=518), "random")
    path = folder / "model.safetensors"
    save_file(native.backbone.state_dict(), path)
    return path


def test_registry_has_the_paper_teacher_under_two_names():
    assert get_teacher("dinov2") is get_teacher("dinov2-b")
    assert get_teacher("dinov2").grid == (24, 24)
    assert [TEACHERS[f"dinov2-{size}"].dim for size in "sblg"] == [384, 768, 1024, 1536]


def test_unknown_names_list_the_known_ones():
    with pytest.raises(UnknownNameError, match=r"Unknown teacher 'dino'.*dinov2-b.*micro"):
        get_teacher("dino")
    with pytest.raises(UnknownNameError, match=r"Known: native, paper, release"):
        get_profile("papper")


def test_image_size_off_the_patch_raster_is_refused():
    with pytest.raises(ConfigError, match="use 336 or 350"):
        replace(SMALL, image_size=340)


def test_position_embeddings_are_resampled_as_timm_does(checkpoint):
    from timm.layers import resample_abs_pos_embed

    loaded = load_teacher(SMALL, str(checkpoint))
    stored = load_file(checkpoint)["pos_embed"]
    expected = resample_abs_pos_embed(stored, [4, 4], num_prefix_tokens=1, antialias=True)
    torch.testing.assert_close(loaded.backbone.pos_embed, expected, rtol=0, atol=0)


def test_native_profile_resamples_position_embeddings_as_transformers_dinov2_does(checkpoint):
    """transformers ships an independent port; it interpolates without the offset, DINOv2's hub models with."""
    from transformers import Dinov2Config, Dinov2Model

    stored = load_file(checkpoint)["pos_embed"]
    port = Dinov2Model(
        Dinov2Config(
            hidden_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=518, patch_size=14
        )
    )
    port.embeddings.position_embeddings.data.copy_(stored)
    expected = port.embeddings.interpolate_pos_encoding(torch.zeros(1, 17, 32), 56, 56)
    torch.testing.assert_close(resample_like_dinov2(stored, 4, offset=0.0), expected)

    native = load_teacher(SMALL, str(checkpoint), profile="native").backbone.pos_embed
    assert not torch.equal(native, load_teacher(SMALL, str(checkpoint)).backbone.pos_embed)
    assert not torch.allclose(native, expected)


def test_native_profile_leaves_a_checkpoint_of_the_same_grid_alone(tmp_path):
    made = load_teacher(SMALL, "random")
    save_file(made.backbone.state_dict(), tmp_path / "same.safetensors")
    loaded = load_teacher(SMALL, str(tmp_path / "same.safetensors"), profile="native")
    assert torch.equal(loaded.backbone.pos_embed, made.backbone.pos_embed)


def test_original_dinov2_checkpoint_loads_from_pth(checkpoint, tmp_path):
    """Facebook's files hold a mask token that timm's model has no place for."""
    original = {**load_file(checkpoint), "mask_token": torch.zeros(1, 32)}
    torch.save(original, tmp_path / "original.pth")
    assert (
        load_teacher(SMALL, str(tmp_path / "original.pth")).fingerprint()
        == load_teacher(SMALL, str(checkpoint)).fingerprint()
    )


@pytest.mark.parametrize("wrapper", ["model", "state_dict"])
def test_a_training_checkpoint_is_unwrapped(checkpoint, tmp_path, wrapper):
    torch.save({wrapper: load_file(checkpoint), "epoch": 3}, tmp_path / "training.pth")
    assert (
        load_teacher(SMALL, str(tmp_path / "training.pth")).fingerprint()
        == load_teacher(SMALL, str(checkpoint)).fingerprint()
    )


def _without_a_key(state):
    return {key: value for key, value in state.items() if key != "blocks.1.mlp.fc1.bias"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without_a_key, r"1 missing keys \(such as blocks.1.mlp.fc1.bias\)"),
        (lambda state: {**state, "head.bias": torch.zeros(3)}, r"1 unexpected keys \(such as head.bias\)"),
        (
            lambda state: {**state, "norm.bias": torch.zeros(7)},
            r"1 tensors of another shape \(norm.bias: \(7,\)",
        ),
        (lambda state: {"weight": torch.zeros(3)}, "is not a checkpoint of teacher 'small'"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(checkpoint, tmp_path, change, message):
    save_file(change(load_file(checkpoint)), tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match=message):
        load_teacher(SMALL, str(tmp_path / "other.safetensors"))


class _Payload:
    def __reduce__(self):
        return print, ("executed",)


def test_unreadable_files_are_refused_in_one_line(checkpoint, tmp_path, capsys):
    cases = {
        "truncated.safetensors": checkpoint.read_bytes()[:5000],
        "empty.safetensors": b"",
        "garbage.pth": b"hello",
        "code.pth": pickle.dumps(_Payload()),
        "weights.npz": b"",
    }
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
    torch.save({"epoch": 3}, tmp_path / "training.pth")
    for name in (*cases, "training.pth", "absent.safetensors"):
        with pytest.raises(WeightsError, match="--weights FILE") as caught:
            load_teacher(SMALL, str(tmp_path / name))
        assert "\n" not in str(caught.value)
    assert "executed" not in capsys.readouterr().out


def test_hub_without_network_names_the_remedy(monkeypatch, tmp_path):
    def unreachable(*args, **kwargs):
        raise OSError("Name or service not known")

    monkeypatch.setattr(socket, "create_connection", unreachable)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with pytest.raises(WeightsError, match=r"cannot be fetched without a network.*--weights FILE"):
        load_teacher(get_teacher("dinov2-s"), "hub")


def test_devices_and_dtypes_that_are_not_there_are_refused():
    with pytest.raises(ConfigError, match="use cpu, or auto"):
        load_teacher(SMALL, "random", device="cuda:99")
    with pytest.raises(
        ConfigError, match=r"Unknown teacher dtype 'fp8'. Known: auto, float32, bfloat16, float16"
    ):
        load_teacher(SMALL, "random", dtype="fp8")


def test_fingerprint_is_stable_and_notices_every_weight(checkpoint):
    first, second = load_teacher(SMALL, str(checkpoint)), load_teacher(SMALL, str(checkpoint))
    assert first.fingerprint() == second.fingerprint()
    for name, parameter in second.backbone.named_parameters():
        before = parameter.data.flatten()[0].clone()
        parameter.data.view(-1)[0] = before + 1
        assert second.fingerprint()["weights_sha256"] != first.fingerprint()["weights_sha256"], name
        parameter.data.view(-1)[0] = before
    assert first.fingerprint() == second.fingerprint()


def test_fingerprint_notices_every_knob(checkpoint):
    plain = Profile(name="paper")
    changed = {
        "normalisation": "clip",
        "pos_embed": "dinov2",
        "scramble_seed": 1,
        "dtype": "bfloat16",
    }
    reference = load_teacher(SMALL, str(checkpoint), plain).fingerprint()
    for knob, value in changed.items():
        fingerprint = load_teacher(SMALL, str(checkpoint), replace(plain, **{knob: value})).fingerprint()
        assert fingerprint[knob] != reference[knob]
    larger = load_teacher(replace(SMALL, image_size=70), str(checkpoint), plain).fingerprint()
    assert larger["image_size"] != reference["image_size"]


def test_random_weights_are_seeded_and_said_to_be_random():
    torch.manual_seed(1)
    first = load_teacher(SMALL, "random").fingerprint()
    expected = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), expected), "loading a teacher must not touch the global generator"
    assert load_teacher(SMALL, "random").fingerprint() == first
    assert (first["weights"], first["weights_seed"]) == ("random", 0)


def test_release_profile_scrambles_linears_only_and_says_so(checkpoint):
    paper = load_teacher(SMALL, str(checkpoint), dtype="bfloat16")
    release = load_teacher(SMALL, str(checkpoint), profile="release")
    linears = {name for name, module in paper.backbone.named_modules() if isinstance(module, torch.nn.Linear)}
    for name, before in paper.backbone.state_dict().items():
        after = release.backbone.state_dict()[name]
        module, _, kind = name.rpartition(".")
        if module not in linears:
            assert torch.equal(before, after), name
        elif kind == "bias":
            assert not after.any(), name
        else:
            assert not torch.equal(before, after), name
            assert after.float().std() == pytest.approx(0.02, rel=0.2)
    assert release.dtype == torch.bfloat16
    assert release.fingerprint()["scramble_seed"] == 0
    assert release.fingerprint() == load_teacher(SMALL, str(checkpoint), profile="release").fingerprint()


def test_a_hub_id_is_fetched_and_a_folder_is_looked_into(checkpoint, tmp_path, monkeypatch):
    asked = []

    def fetch(repo, filename, what):
        asked.append((repo, filename))
        return checkpoint

    monkeypatch.setattr("viral.teachers.weights.fetch", fetch)  # the hub is the one part a test cannot have
    expected = load_teacher(SMALL, str(checkpoint)).fingerprint()
    assert load_teacher(SMALL, "someone/mirror").fingerprint() == expected
    assert load_teacher(replace(SMALL, hub="us/small", hub_file="small.pth"), "hub").fingerprint() == expected
    assert asked == [("someone/mirror", "model.safetensors"), ("us/small", "small.pth")]
    assert load_teacher(SMALL, str(checkpoint.parent)).fingerprint() == expected
    with pytest.raises(WeightsError, match="No hub weights are known for teacher 'small'"):
        load_teacher(SMALL, "hub")
    with pytest.raises(WeightsError, match="no such file"):
        load_teacher(SMALL, str(tmp_path))


def test_weights_of_another_family_are_refused_with_the_reason(checkpoint, tmp_path):
    nvidia = {"radio_model.model.patch_generator.pos_embed": torch.zeros(1, 4, 48)}
    save_file(nvidia | {"radio_model.model.norm.weight": torch.ones(48)}, tmp_path / "normed.safetensors")
    shifted = nvidia | {"radio_model.input_conditioner.norm_mean": torch.zeros(3, 1, 1)}
    save_file(shifted, tmp_path / "shifted.safetensors")
    cases = (
        (DEPTH_ANYTHING, checkpoint, "keys begin with pretrained."),
        (RADIO, checkpoint, "nothing that changes the tokens after them; found blocks.0.attn.proj.bias"),
        (RADIO, tmp_path / "normed.safetensors", "found radio_model.model.norm.weight"),
        (RADIO, tmp_path / "shifted.safetensors", "its pixel statistics are norm_mean"),
        (SAM, checkpoint, "missing keys"),
        (CLIP, checkpoint, "missing keys"),
    )
    for spec, path, message in cases:
        with pytest.raises(WeightsError, match=message) as caught:
            load_teacher(spec, str(path))
        assert "\n" not in str(caught.value)


def test_register_models_resample_without_offset_and_antialiased(tmp_path):
    spec = replace(SMALL, architecture="vit_small_patch14_reg4_dinov2.lvd142m")
    native = load_teacher(replace(spec, image_size=112), "random")
    state = native.backbone.state_dict()
    save_file(state, tmp_path / "model.safetensors")
    loaded = load_teacher(spec, str(tmp_path), profile="native").backbone.pos_embed
    grid = state["pos_embed"].reshape(1, 8, 8, 32).permute(0, 3, 1, 2)
    expected = torch.nn.functional.interpolate(grid, size=(4, 4), mode="bicubic", antialias=True)
    torch.testing.assert_close(loaded, expected.flatten(2).transpose(1, 2))
    original = {
        name: value for name, value in state.items() if name not in ("reg_token", "cls_token", "pos_embed")
    }
    original |= {"register_tokens": state["reg_token"], "mask_token": torch.zeros(1, 32)}
    shift = torch.full((1, 1, 32), 0.5)  # the authors add the class token's position when they run
    original |= {
        "cls_token": state["cls_token"] - shift,
        "pos_embed": torch.cat([shift, state["pos_embed"]], dim=1),
    }
    torch.save(original, tmp_path / "original.pth")
    torch.testing.assert_close(
        load_teacher(spec, str(tmp_path / "original.pth"), profile="native").backbone.pos_embed, loaded
    )

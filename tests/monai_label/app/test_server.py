"""The bundle in a real MONAI Label server: infer, refuse, correct, train, infer again.

The tests follow one another: the later ones find what the earlier ones left in the data store.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.error
import urllib.request

import nibabel as nib
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from scsam_monai.data.synthetic import VOCABULARY
from scsam_monai.filesystem.atomic import sha256_of
from scsam_monai.io import read_header, read_labels
from tests.monai_label.app.conftest import SCRIPTS, predict

IMAGES = ("stack.tif", "volume.nii.gz", "plane.tif", "picture.png")
VOXEL_NM = [16, 16, 16]


def stem(file):
    return file.split(".")[0]


def save(path, array, **options):
    tifffile.imwrite(path, array, photometric="minisblack", **options)
    return path


def test_labels_carry_the_names_of_the_organelles(server):
    info = server.get("/info/")
    expected = {name: index for index, name in enumerate(VOCABULARY) if index}
    assert info["models"]["scsam"]["labels"] == expected
    assert "scsam" in info["trainers"]
    assert info["datastore"]["total"] == len(IMAGES)


def test_it_listens_to_this_machine_alone(server):
    table = [line.split() for line in open("/proc/net/tcp").read().splitlines()[1:]]  # noqa: PTH123, SIM115
    port = f"{server.port:04X}"
    listening = [address for _, address, _, state, *_ in table if address.endswith(port) and state == "0A"]
    assert listening == [f"0100007F:{port}"]


@pytest.mark.parametrize("file", IMAGES)
def test_answers_are_those_of_the_command_line(server, command_line, tmp_path, file):
    size = {"params": {"voxel_size_nm": VOXEL_NM}} if file == "picture.png" else {}
    answer = server.call("POST", f"/infer/scsam?image={stem(file)}&output=image", **size)
    assert answer.status == 200, answer.body
    (tmp_path / file).write_bytes(answer.body)
    image, told = read_header(server.folder / "images" / file), read_labels(tmp_path / file)
    expected = read_labels(command_line / file.replace(".", "_labels.", 1))
    np.testing.assert_array_equal(told.array, expected.array)
    assert told.array.dtype == np.uint8
    assert told.header.shape == image.shape
    assert told.voxel_size_nm == image.voxel_size_nm
    assert len(np.unique(told.array)) > 4


def test_an_image_may_come_with_the_request(server, command_line, tmp_path):
    answer = server.call("POST", "/infer/scsam?output=image", file=server.folder / "images" / "stack.tif")
    (tmp_path / "stack.tif").write_bytes(answer.body)
    expected = read_labels(command_line / "stack_labels.tif").array
    np.testing.assert_array_equal(read_labels(tmp_path / "stack.tif").array, expected)


def test_a_volume_keeps_its_orientation_and_unit(server, tmp_path):
    """A flipped, shifted volume in micrometres, which viewers take to be millimetres once they have read it."""
    source = nib.load(server.folder / "images" / "volume.nii.gz")
    affine = np.array([[-0.016, 0, 0, 3], [0, 0, 0.016, 4], [0, 0.016, 0, 5], [0, 0, 0, 1]])
    image = nib.Nifti1Image(np.asarray(source.dataobj), affine)
    image.header.set_xyzt_units("micron")
    nib.save(image, tmp_path / "turned.nii.gz")
    answers = {}
    for suffix in (".nii.gz", ".nrrd"):
        params = {"result_extension": suffix}
        answer = server.call(
            "POST", "/infer/scsam?output=image", file=tmp_path / "turned.nii.gz", params=params
        )
        assert answer.status == 200, answer.body
        answers[suffix] = tmp_path / f"told{suffix}"
        answers[suffix].write_bytes(answer.body)
    told = nib.load(answers[".nii.gz"])
    np.testing.assert_allclose(told.affine, affine)
    assert told.header.get_xyzt_units()[0] == "micron"
    assert told.get_data_dtype() == np.uint8
    header = answers[".nrrd"].read_bytes().split(b"\n\n")[0].decode()
    fields = dict(line.split(": ", 1) for line in header.splitlines() if ": " in line)
    assert fields["type"] in ("unsigned char", "uint8", "uchar")
    assert fields["sizes"] == " ".join(map(str, told.shape))
    assert fields["space"] == "left-posterior-superior"
    directions = [
        tuple(map(float, word.strip("()").split(","))) for word in fields["space directions"].split()
    ]
    to_lps = np.diag([-1, -1, 1])
    np.testing.assert_allclose(np.array(directions).T, to_lps @ affine[:3, :3] / 1e3, rtol=1e-5, atol=1e-12)


@pytest.fixture
def bad(tmp_path):
    """Files that nobody can use."""
    (tmp_path / "text.tif").write_text("this is no image")
    grey = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "colour.tif", grey, photometric="rgb")
    Image.fromarray(grey).save(tmp_path / "colour.png")
    save(tmp_path / "empty.tif", np.zeros((256, 256), np.uint8))
    save(tmp_path / "looked_at_nothing.tif", np.full((256, 256), 255, np.uint8))
    save(tmp_path / "other_shape.tif", np.ones((200, 256), np.uint8))
    save(tmp_path / "no_class.tif", np.full((256, 256), 77, np.uint8))
    save(tmp_path / "good.tif", np.ones((256, 256), np.uint8))
    return tmp_path


LABEL = "/datastore/label?tag=final&image="
REFUSED = [
    ("POST", "/infer/scsam?output=image", "file", "text.tif", 400, "expected a readable image"),
    ("POST", "/infer/scsam?output=image", "file", "colour.tif", 400, "expected one grey channel"),
    ("POST", "/infer/scsam?output=image", "file", "colour.png", 400, "expected one grey channel"),
    ("PUT", "/datastore/image?image=new", "file", "text.tif", 400, "new.tif: expected a readable image"),
    ("PUT", "/datastore/image?image=new", "file", "colour.png", 400, "new.png: expected one grey channel"),
    ("PUT", "/datastore/image?image=../new", "file", "good.tif", 400, "expected a name without folders"),
    ("PUT", f"{LABEL}plane", "label", "empty.tif", 400, "expected some voxels of a class, met 0 only"),
    ("PUT", f"{LABEL}plane", "label", "looked_at_nothing.tif", 400, "some voxels of a class, met 255 only"),
    ("PUT", f"{LABEL}plane", "label", "other_shape.tif", 400, "expected the shape of plane.tif"),
    ("PUT", f"{LABEL}plane", "label", "no_class.tif", 400, "3 mitochondrion"),
    ("PUT", f"{LABEL}plane", "label", "text.tif", 400, "label of plane: expected a readable image"),
    ("PUT", f"{LABEL}nobody", "label", "good.tif", 404, "met nobody"),
    ("POST", "/infer/nothing?image=plane", None, None, 404, "model: expected one of scsam, met nothing"),
    ("POST", "/infer/scsam?image=nobody", None, None, 404, "met nobody"),
    ("POST", "/infer/scsam?image=picture", None, None, 400, "voxel_size_nm: expected the image's voxel size"),
]


@pytest.mark.parametrize(("method", "path", "part", "file", "status", "sentence"), REFUSED)
def test_bad_input_is_refused_with_a_sentence(server, bad, method, path, part, file, status, sentence):
    before = server.files()
    answer = server.call(method, path, **({part: bad / file} if part else {}))
    assert answer.status == status
    assert sentence in answer.sentence
    assert "\n" not in answer.sentence
    assert str(server.folder) not in answer.sentence
    assert server.files() == before
    assert server.get("/info/")["datastore"]["total"] == len(IMAGES)


def test_a_batch_goes_on_past_an_image_that_is_refused(server, command_line):
    answer = server.call("POST", "/batch/infer/scsam?images=all&run_sync=true", {"multi_gpu": True})
    assert answer.status == 200, answer.body
    told = json.loads(answer.body)
    assert "voxel_size_nm: expected" in told.pop("picture")["error"]
    assert all(result["label"] == name for name, result in told.items()), told
    labels = server.folder / "images" / "labels" / "original"
    for file in ("stack.tif", "volume.nii.gz", "plane.tif"):
        expected = read_labels(command_line / file.replace(".", "_labels.", 1)).array
        np.testing.assert_array_equal(read_labels(labels / file).array, expected)


@pytest.mark.parametrize("sync", ["", "?run_sync=true"])
def test_training_without_labels_is_refused_at_once(server, sync):
    answer = server.call("POST", f"/train/scsam{sync}", {"max_epochs": 1})
    assert answer.status == 400
    assert answer.sentence.startswith("training: expected at least one image with a final label, met none")
    answer = server.call("POST", f"/train/nothing{sync}", {})
    assert (answer.status, "met nothing" in answer.sentence) == (404, True)


def code(file):
    """What MONAI's configs would run, to leave a file behind."""
    return f"$open({str(file)!r}, 'w')"


@pytest.mark.parametrize("sync", ["", "?run_sync=true"])
@pytest.mark.parametrize("key", ["max_epochs", "device", "val_split", "anything", "tracking_uri"])
def test_no_training_runs_what_a_request_says(server, tmp_path, key, sync):
    answer = server.call("POST", f"/train/scsam{sync}", {key: code(tmp_path / "made")})
    assert answer.status == 400
    assert answer.sentence.startswith(f"{key}: expected plain text or a number, met ")
    assert "$open(" in answer.sentence
    assert server.call("POST", f"/train/{sync}", {"scsam": {key: code(tmp_path / "made")}}).status == 400
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("value", ["code", ["code"], {"a": ["code"]}])
def test_no_prediction_does(server, tmp_path, value):
    value = json.loads(json.dumps(value).replace("code", code(tmp_path / "made")))
    for key in ("device", "roi_size"):
        answer = server.call("POST", "/infer/scsam?image=plane&output=image", params={key: value})
        assert answer.status == 400, answer.body
        assert "expected plain text or a number" in answer.sentence
        for sync in ("", "&run_sync=true"):
            path = f"/batch/infer/scsam?images=all{sync}"
            assert server.call("POST", path, {key: value}).status == 400
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("max_epochs", 0, "max_epochs: expected a whole number above 0, met 0"),
        ("max_epochs", 1.5, "met 1.5"),
        ("max_epochs", True, "met True"),
        ("max_epochs", [3], "met [3]"),
        ("val_split", 1, "val_split: expected a number from 0 to below 1, met 1"),
        ("val_split", -1, "met -1"),
        ("val_split", "half", "met 'half'"),
        ("device", "toaster", "device: expected one of cpu, "),
        ("device", {"_target_": "os.getcwd"}, "device: expected one of cpu, "),
    ],
)
def test_values_that_no_training_can_use_are_refused(server, key, value, sentence):
    answer = server.call("POST", "/train/scsam", {key: value})
    assert (answer.status, sentence in answer.sentence) == (400, True), answer.sentence


@pytest.mark.parametrize(
    ("headers", "met"),
    [
        ({"Origin": "http://elsewhere.example"}, "a page of http://elsewhere.example"),
        ({"Origin": "null"}, "a page of null"),
        ({"Origin": "http://127.0.0.1:1"}, "a page of http://127.0.0.1:1"),
        ({"Host": "elsewhere.example"}, "a request to elsewhere.example"),
    ],
)
def test_pages_of_others_are_refused(server, headers, met):
    request = urllib.request.Request(f"{server.url}/train/scsam", b"{}", headers, method="POST")
    with pytest.raises(urllib.error.HTTPError, match="403") as error:
        urllib.request.urlopen(request, timeout=60)
    assert met in json.loads(error.value.read())["detail"]
    assert error.value.headers["access-control-allow-origin"] in (None, server.url)


def test_its_own_page_is_not(server):
    request = urllib.request.Request(f"{server.url}/info/", headers={"Origin": server.url})
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status == 200


def without_prototypes(path):
    state = torch.load(path, weights_only=True)
    state.pop("prompt_encoder.prototypes")
    torch.save(state, path)


def of_another_network(path):
    torch.save({"weight": torch.zeros(3)}, path)


def cut_short(path):
    path.write_bytes(path.read_bytes()[:5000])


def damaged(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x40
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "recorded", "sentence"),
    [
        (without_prototypes, True, "1 missing (prompt_encoder.prototypes)"),
        (of_another_network, True, "1 unknown (weight)"),
        (cut_short, True, "model.pt: expected a safetensors file or a PyTorch state dict"),
        (damaged, False, "model.pt: expected the weights that model.json describes"),
    ],
)
def test_a_model_that_is_not_whole_is_refused(server, tmp_path, spoil, recorded, sentence):
    model = server.folder / "app" / "model" / "scsam" / "models" / "model.pt"
    record = model.with_suffix(".json").read_text()
    for name in ("whole.pt", "spoilt.pt"):
        shutil.copy(model, tmp_path / name)
    spoil(tmp_path / "spoilt.pt")
    if recorded:  # else the hash tells before anything else is looked at
        own = json.loads(record) | {"model_sha256": sha256_of(tmp_path / "spoilt.pt")}
        model.with_suffix(".json").write_text(json.dumps(own))
    (tmp_path / "spoilt.pt").replace(model)
    try:
        answer = server.call("POST", "/infer/scsam?image=plane&output=image")
    finally:
        (tmp_path / "whole.pt").replace(model)
        model.with_suffix(".json").write_text(record)
    assert answer.status == 500
    assert sentence in answer.sentence
    assert server.call("POST", "/infer/scsam?image=plane&output=image").status == 200


def test_segments_are_stored_by_their_names(server, tmp_path):
    """As 3D Slicer sends them: a NIfTI file, numbered in the order of its list."""
    values = np.zeros((256, 256, 4), np.uint8)
    values[:9, :9, 0], values[20:] = 1, 2
    nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / "label.nii.gz")
    info = {"label_info": [{"name": "mitochondrion", "idx": 1}, {"name": "unknown", "idx": 2}]}
    answer = server.call("PUT", f"{LABEL}volume", label=tmp_path / "label.nii.gz", params=info)
    assert answer.status == 200, answer.body
    stored = np.asarray(nib.load(server.folder / "images" / "labels" / "final" / "volume.nii.gz").dataobj)
    assert np.array_equal(stored, np.array([0, 3, 255], np.uint8)[values])
    removed = server.call("DELETE", "/datastore/label?id=volume&tag=final")
    assert removed.status == 200


def test_what_replaces_an_image_or_a_label_leaves_no_misfit(server, tmp_path):
    images = server.folder / "images"
    picture = Image.open(server.folder / "images" / "plane.tif")
    label = np.ones(np.asarray(picture).shape, np.uint8)
    Image.fromarray(label).save(tmp_path / "label.png")
    save(tmp_path / "label.tif", label)
    save(tmp_path / "smaller.tif", np.asarray(picture)[:-9])
    before = server.files()
    for suffix in (".tif", ".png"):
        answer = server.call("PUT", f"{LABEL}plane", label=tmp_path / f"label{suffix}")
        assert answer.status == 200, answer.body
        assert [path.name for path in (images / "labels" / "final").iterdir()] == [f"plane{suffix}"]
    labelled = server.files()
    answer = server.call("PUT", "/datastore/image?image=plane", file=tmp_path / "smaller.tif")
    assert answer.status == 400
    assert answer.sentence.startswith("image plane: expected the shape of its final label, (1, ")
    assert server.files() == labelled
    answer = server.call("PUT", "/datastore/image?image=plane", file=images / "plane.tif")
    assert answer.status == 200, answer.body
    assert server.files() == labelled
    assert server.get("/datastore/?output=all")["objects"]["plane"]["labels"]["final"]["ext"] == ".png"
    assert server.call("DELETE", "/datastore/label?id=plane&tag=final").status == 200
    assert server.files() == before


def test_bundles_of_other_classes_share_no_labels(server, label_env, tmp_path):
    shutil.copytree(server.folder / "app", tmp_path / "app", ignore=shutil.ignore_patterns("runs", "logs"))
    models = tmp_path / "app" / "model"
    shutil.copytree(models / "scsam", models / "scsam2")
    record = json.loads((models / "scsam2" / "models" / "model.json").read_text())
    record["class_names"] = ["background", "vacuole"]
    (models / "scsam2" / "models" / "model.json").write_text(json.dumps(record))
    command = [label_env / "bin" / "python", "-m", "monailabel.interfaces.utils.app", "-m", "info"]
    command += ["--app", tmp_path / "app", "--studies", tmp_path / "images"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode
    assert "expected the classes of scsam, background, " in done.stderr.splitlines()[-1]


def test_the_loop_of_the_guide_improves_the_model(server, label_env):
    models = server.folder / "app" / "model" / "scsam" / "models"
    first = (models / "model.pt").read_bytes()
    truth = server.folder / "truth" / "stack.tif"
    loop = [label_env / "bin" / "python", SCRIPTS / "loop.py", "--server", server.url, "--truth", truth]
    done = subprocess.run([*loop, "--epochs", "4"], capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "DONE: mean_iou of the items it learned from rose from" in done.stdout
    before, after = (float(line.split()[6]) for line in done.stdout.splitlines()[-2:])
    assert after > before
    assert (models / "model_earlier_1.pt").read_bytes() == first
    assert (models / "model.pt").read_bytes() != first
    record = json.loads((models / "model.json").read_text())
    assert record["class_names"] == list(VOCABULARY)
    assert record["metric"]["value"] > 0


def test_a_training_that_does_not_help_leaves_the_model(server):
    """With three labels one is held out; the picture's voxel size is known to the data store alone."""
    size = {"info": {"voxel_size_nm": VOXEL_NM}}
    assert server.call("PUT", "/datastore/image/info?image=picture", **size).status == 200
    for name in ("plane.tif", "picture.png"):
        label = server.folder / "truth" / name
        assert server.call("PUT", f"{LABEL}{stem(name)}", label=label).status == 200
    models = server.folder / "app" / "model" / "scsam" / "models"
    before = {path.name: path.read_bytes() for path in models.iterdir()}
    config = models.parent / "configs" / "monai_label.json"
    text = config.read_text()
    config.write_text(text.replace('"learning_rate": 0.0003', '"learning_rate": 0.3'))
    try:
        answer = server.call("POST", "/train/scsam?run_sync=true", {"max_epochs": 1})
    finally:
        config.write_text(text)
    assert answer.status == 200, answer.body
    verdict = json.loads(answer.body)
    assert verdict["replaced"] is False
    assert verdict["scored_on"] == "1 held-out item"
    assert "stays" in verdict["verdict"]
    assert {path.name: path.read_bytes() for path in models.iterdir()} == before


def test_the_new_model_answers_like_the_command_line(server, tmp_path):
    model = server.folder / "app" / "model" / "scsam" / "models" / "model.pt"
    predict(server.folder / "images" / "stack.tif", tmp_path, ckpt_path=str(model))
    answer = server.call("POST", "/infer/scsam?image=stack&output=image")
    (tmp_path / "told.tif").write_bytes(answer.body)
    told, expected = (read_labels(tmp_path / name).array for name in ("told.tif", "stack_labels.tif"))
    np.testing.assert_array_equal(told, expected)

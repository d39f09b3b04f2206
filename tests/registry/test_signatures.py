"""Signed models: by whom, of which files, and refused before anything of them is loaded."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reviews_parsing import ModelError, TrackingError, registry
from reviews_parsing.cli import main
from reviews_parsing.errors import ModelNotTrusted
from reviews_parsing.model_folder import CONFIG_FILE, MODEL_FILE, TOKENIZER_FILE
from reviews_parsing.registry import signatures
from reviews_parsing.registry.runs import run
from reviews_parsing.registry.signatures import SIGNATURE_FILE, require_signer, sign, signature_file
from reviews_parsing.settings import MODEL_NAME

CHAMPION, FIRST = f"models:/{MODEL_NAME}@champion", f"models:/{MODEL_NAME}/1"
FETCH = sys.modules["reviews_parsing.registry.fetch"]
REFUSED = "version 1 of .* is refused: "


def openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


def make_key(folder: Path, name: str, *options: str) -> Path:
    """Make a key pair as the documentation says; return the private key. The public one is `.pub`."""
    key = folder / f"{name}.pem"
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", str(key), *options)
    password = ["-passin", options[-1]] if options else []
    openssl("pkey", "-in", str(key), "-pubout", "-out", str(key.with_suffix(".pub")), *password)
    return key


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of two key pairs, `mine` and `other`."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("mine", "other"):
        make_key(folder, name)
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Return a folder with files by the names of a model; nothing here loads them."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in (MODEL_FILE, TOKENIZER_FILE, CONFIG_FILE, ".gitattributes"):
        (folder / name).write_text(f"this is {name}")
    return folder


@pytest.fixture
def home(with_champion: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a home with a champion that is not signed.

    MLflow remembers for each run where its artifacts are, and this run's are elsewhere in other tests.
    """
    monkeypatch.setattr("mlflow.tracking._tracking_service.utils._artifact_repos_cache", OrderedDict())
    return with_champion


def sign_with(key: Path | str, monkeypatch: pytest.MonkeyPatch, certificate: Path | None = None) -> None:
    monkeypatch.setenv("REVIEWS_PARSING_SIGNING_KEY", str(key))
    monkeypatch.setenv("REVIEWS_PARSING_SIGNING_CERTIFICATE", str(certificate or ""))


def trust(policy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REVIEWS_PARSING_TRUST", str(policy))


def signed(model: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    sign_with(key, monkeypatch)
    sign(model, signature_file(model))
    return signature_file(model)


def log_folder(model: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Log a model folder as a run, as training does, without MLflow's model; return the id of the run."""
    with run() as log:
        monkeypatch.setattr("mlflow.pyfunc.log_model", lambda **_: None)
        log.model(model, "a text")
    return log.run_id


def test_a_folder_is_signed_and_verified(model: Path, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert registry.locate(model) == (model, None)
    signature = signed(model, keys / "mine.pem", monkeypatch)
    trust(keys / "mine.pub", monkeypatch)
    assert registry.locate(model) == (model, None)
    statement = json.loads(base64.b64decode(json.loads(signature.read_text())["dsseEnvelope"]["payload"]))
    files = {file["name"]: file["algorithm"] for file in statement["predicate"]["resources"]}
    assert files == dict.fromkeys((".gitattributes", MODEL_FILE, CONFIG_FILE, TOKENIZER_FILE), "sha256")


def test_a_signature_is_one_of_the_command_of_model_signing(
    model: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [sys.executable, "-m", "model_signing"]
    signature = signature_file(model)
    options = ["--no-ignore-git-paths", "--signature", str(signature)]
    subprocess.run(
        [*command, "sign", "key", *options, "--private_key", str(keys / "mine.pem"), str(model)],
        check=True,
        capture_output=True,
    )
    trust(keys / "mine.pub", monkeypatch)
    assert registry.locate(model) == (model, None)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (MODEL_FILE, b"other weights", "model.onnx has SHA-256 .* instead of"),
        (".gitattributes", b"", ".gitattributes has SHA-256"),
        (TOKENIZER_FILE, None, "tokenizer.json is missing"),
        ("extra.bin", b"x", "extra.bin was not signed"),
        (".gitignore", b"x", ".gitignore was not signed"),
    ],
)
def test_a_file_that_differs_is_named(
    model: Path, keys: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes | None, words: str
) -> None:
    signed(model, keys / "mine.pem", monkeypatch)
    trust(keys / "mine.pub", monkeypatch)
    if content is None:
        (model / name).unlink()
    else:
        (model / name).write_bytes(content)
    with pytest.raises(ModelNotTrusted, match=f"{model} is refused: {words}") as caught:
        registry.locate(model)
    assert "\n" not in str(caught.value)


def test_a_file_that_the_signature_excludes_is_refused(
    model: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from model_signing.hashing import Config
    from model_signing.signing import Config as Signing

    (model / "hook.py").write_text("print('hello')")
    hashing = Config().set_ignored_paths(paths=[Path("hook.py")])
    signer = Signing().set_hashing_config(hashing).use_elliptic_key_signer(private_key=keys / "mine.pem")
    signer.sign(model, signature_file(model))
    trust(keys / "mine.pub", monkeypatch)
    with pytest.raises(ModelNotTrusted, match=r"(hook.py|.gitattributes) was not signed"):
        registry.locate(model)


def test_a_signature_by_another_key_is_refused(model: Path, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signed(model, keys / "other.pem", monkeypatch)
    trust(keys / "mine.pub", monkeypatch)
    with pytest.raises(ModelNotTrusted, match=r"by another key than those in .*mine.pub"):
        registry.locate(model)


def test_a_policy_may_hold_several_keys(
    model: Path, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a key can be replaced."""
    signed(model, keys / "mine.pem", monkeypatch)
    policy = tmp_path / "policy.pem"
    policy.write_text((keys / "other.pub").read_text() + (keys / "mine.pub").read_text())
    trust(policy, monkeypatch)
    assert registry.locate(model) == (model, None)


def forge(signature: Path, change: str) -> None:
    """Change a signature in a way that leaves it readable."""
    bundle = json.loads(signature.read_text())
    envelope = bundle["dsseEnvelope"]
    statement = json.loads(base64.b64decode(envelope["payload"]))
    if change == "content":
        statement["predicate"]["resources"][0]["digest"] = "0" * 64
        envelope["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    elif change == "other format":
        statement["predicateType"] = "https://model_signing/Digests/v0.1"
        envelope["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    elif change == "no key":
        bundle["verificationMaterial"] = {}
    elif change == "no hint":
        bundle["verificationMaterial"]["publicKey"]["hint"] = ""
    signature.write_text(json.dumps(bundle))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("content", "its signature is invalid, or not by a signer in"),
        ("other format", "its signature is damaged .not of model-signing 1.0"),
        ("no key", "its signature is damaged"),
        ("no hint", "its signature is damaged .not of model-signing 1.0"),
    ],
)
def test_a_forged_signature_is_refused(
    model: Path,
    keys: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: str,
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    forge(signed(model, keys / "mine.pem", monkeypatch), change)
    trust(keys / "mine.pub", monkeypatch)
    with pytest.raises(ModelNotTrusted, match=f"{model} is refused: {words}") as caught:
        registry.locate(model)
    assert "\n" not in str(caught.value)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 100_000, b"\xff", b'{"dsseEnvelope": 1}', b"x" * (2**20 + 1)])
def test_a_damaged_signature_is_one_line(
    model: Path, keys: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    signature_file(model).write_bytes(content)
    trust(keys / "mine.pub", monkeypatch)
    with pytest.raises(ModelNotTrusted, match=r"its signature is damaged \(.+\); sign it again$") as caught:
        registry.locate(model)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        "hello",
        "{}",
        "[1]",
        "[" * 100_000,
        '{"identity": "a", "issuer": "b", "more": 1}',
        '{"identity": "", "issuer": ""}',
    ],
)
def test_a_policy_that_cannot_be_read_trusts_nothing(
    model: Path, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    signed(model, keys / "mine.pem", monkeypatch)
    policy = tmp_path / "policy"
    if content is not None:
        policy.write_text(content)
    trust(policy, monkeypatch)
    with pytest.raises(ModelError, match=f"the trust policy {policy} ") as caught:
        registry.locate(model)
    assert "\n" not in str(caught.value)


def test_a_damaged_key_of_a_policy_is_named(
    model: Path, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed(model, keys / "mine.pem", monkeypatch)
    policy = tmp_path / "policy"
    policy.write_text("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
    trust(policy, monkeypatch)
    with pytest.raises(ModelError, match=f"the trust policy {policy} is damaged"):
        registry.locate(model)


@pytest.mark.parametrize("algorithm", ["RSA", "ed25519"])
def test_a_key_of_another_kind_in_a_policy_is_one_line(
    model: Path, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, algorithm: str
) -> None:
    signed(model, keys / "mine.pem", monkeypatch)
    openssl("genpkey", "-algorithm", algorithm, "-out", str(tmp_path / "key.pem"))
    openssl("pkey", "-in", str(tmp_path / "key.pem"), "-pubout", "-out", str(tmp_path / "policy"))
    trust(tmp_path / "policy", monkeypatch)
    with pytest.raises(ModelError, match=f"{tmp_path}/policy has a key that is not an elliptic curve key"):
        registry.locate(model)


def test_a_folder_with_more_than_what_was_signed_is_refused(
    model: Path, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it is: a link with the same content, a pipe, a folder that is empty or that git ignores."""
    signed(model, keys / "mine.pem", monkeypatch)
    trust(keys / "mine.pub", monkeypatch)
    (tmp_path / "same").write_bytes((model / MODEL_FILE).read_bytes())

    def add_link() -> None:
        (model / MODEL_FILE).unlink()
        (model / MODEL_FILE).symlink_to(tmp_path / "same")

    def add_file(name: str) -> None:
        (model / name).parent.mkdir(exist_ok=True)
        (model / name).write_bytes(b"x")

    original = tmp_path / "original"
    shutil.copytree(model, original)
    for change in (
        add_link,
        lambda: os.mkfifo(model / "pipe"),
        lambda: (model / "etc").symlink_to("/etc"),
        (model / "python_model").mkdir,
        lambda: add_file("python_model/model.pkl"),
        lambda: add_file("__pycache__/hook.pyc"),
        lambda: add_file(".git/config"),
    ):
        assert registry.locate(model) == (model, None)
        change()
        with pytest.raises(ModelNotTrusted, match=f"{model} is refused: ") as caught:
            registry.locate(model)
        assert "\n" not in str(caught.value)
        shutil.rmtree(model)
        shutil.copytree(original, model)


def test_a_signature_of_another_model_is_refused(model: Path, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = model.with_name("other")
    shutil.copytree(model, other)
    (other / MODEL_FILE).write_text("earlier weights")
    shutil.copy(signed(other, keys / "mine.pem", monkeypatch), signature_file(model))
    trust(keys / "mine.pub", monkeypatch)
    with pytest.raises(ModelNotTrusted, match=f"{model} is refused: model.onnx has SHA-256"):
        registry.locate(model)


def make_certificates(folder: Path) -> None:
    """Make a certificate authority and a certificate for signing, `signer.pem`, by it."""
    make_key(folder, "ca-key")
    options = ["-days", "30", "-subj", "/CN=Models", "-addext", "basicConstraints=critical,CA:TRUE"]
    openssl("req", "-x509", "-key", str(folder / "ca-key.pem"), "-out", str(folder / "ca.pem"), *options)
    key = make_key(folder, "signer-key")
    usage = ["-addext", "basicConstraints=critical,CA:FALSE", "-addext", "keyUsage=critical,digitalSignature"]
    authority = ["-CA", str(folder / "ca.pem"), "-CAkey", str(folder / "ca-key.pem"), "-days", "30"]
    certificate = ["-key", str(key), "-out", str(folder / "signer.pem"), "-subj", "/CN=Training"]
    openssl("req", "-x509", *certificate, *authority, *usage)


def test_a_certificate_is_trusted_by_its_authority(
    model: Path, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_certificates(tmp_path)
    sign_with(tmp_path / "signer-key.pem", monkeypatch, tmp_path / "signer.pem")
    sign(model, signature_file(model))
    trust(tmp_path / "ca.pem", monkeypatch)
    assert registry.locate(model) == (model, None)
    (model / MODEL_FILE).write_text("other weights")
    with pytest.raises(ModelNotTrusted, match=r"model.onnx has SHA-256"):
        registry.locate(model)
    trust(keys / "mine.pub", monkeypatch)
    with pytest.raises(ModelNotTrusted, match=r"it is signed by a certificate, and .* trusts a key"):
        registry.locate(model)
    (tmp_path / "elsewhere").mkdir()
    make_certificates(tmp_path / "elsewhere")
    trust(tmp_path / "elsewhere" / "ca.pem", monkeypatch)
    with pytest.raises(ModelNotTrusted, match="its signature is invalid, or not by a signer in"):
        registry.locate(model)


def test_an_identity_is_verified_by_sigstore(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sigstore itself needs a network; what it is asked does not."""
    asked: list[dict[str, Any]] = []

    def use_sigstore_verifier(config: Any, **options: Any) -> Any:
        asked.append(options)
        return config

    monkeypatch.setattr("model_signing.verifying.Config.use_sigstore_verifier", use_sigstore_verifier)
    monkeypatch.setattr("model_signing.verifying.Config.verify", lambda *_: None)
    digests = [{"name": path.name, "digest": record.sha256} for path, record in described(model)]
    statement = {"predicateType": signatures.PREDICATE, "predicate": {"resources": digests}}
    payload = base64.b64encode(json.dumps(statement).encode()).decode()
    bundle = {"verificationMaterial": {"certificate": {"rawBytes": "AA=="}}, "dsseEnvelope": {"payload": payload}}
    signature_file(model).write_text(json.dumps(bundle))
    policy = tmp_path / "policy.json"
    identity = "https://github.com/example/reviews/.github/workflows/train.yml@refs/heads/main"
    issuer = "https://token.actions.githubusercontent.com"
    policy.write_text(json.dumps({"identity": identity, "issuer": issuer, "trust_config": "/etc/sigstore.json"}))
    trust(policy, monkeypatch)
    assert registry.locate(model) == (model, None)
    assert asked == [{"identity": identity, "oidc_issuer": issuer, "trust_config": Path("/etc/sigstore.json")}]


def described(model: Path) -> list[tuple[Path, Any]]:
    from reviews_parsing.registry.integrity import describe_files

    return [(model / name, record) for name, record in describe_files(model).items()]


def test_an_identity_without_a_trust_configuration_that_can_be_read_is_one_line(
    model: Path, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed(model, keys / "mine.pem", monkeypatch)
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps({"identity": "a", "issuer": "b", "trust_config": str(tmp_path / "absent.json")}))
    trust(policy, monkeypatch)
    with pytest.raises(
        ModelError, match=r"the trust policy .* cannot be used .*without a network, name a trust_config"
    ):
        registry.locate(model)


def test_keyless_signing_without_an_identity_opens_no_browser(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sign_with("keyless", monkeypatch)
    monkeypatch.setattr("sigstore.oidc.detect_credential", lambda: None)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: False))
    with pytest.raises(ModelError, match="keyless signing needs the identity of a CI job"):
        sign(model, signature_file(model))


def test_keyless_signing_uses_the_identity_of_the_job(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sign_with("keyless", monkeypatch)
    monkeypatch.setattr("sigstore.oidc.detect_credential", lambda: "a token")
    asked: list[dict[str, Any]] = []

    def use_sigstore_signer(config: Any, **options: Any) -> Any:
        asked.append(options)
        return config

    monkeypatch.setattr("model_signing.signing.Config.use_sigstore_signer", use_sigstore_signer)
    require_signer()
    assert asked == [{"use_ambient_credentials": True}]


@pytest.mark.parametrize("content", [None, "", "hello"])
def test_a_key_that_cannot_be_used_is_found_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    from reviews_parsing import pipelines
    from reviews_parsing.training.fit import Recipe

    key = tmp_path / "key.pem"
    if content is not None:
        key.write_text(content)
    sign_with(key, monkeypatch)
    monkeypatch.setattr("reviews_parsing.pipelines.training.prepare", lambda *_: pytest.fail("it began"))
    for begin in (lambda: pipelines.train("corpus", Recipe()), pipelines.publish):
        with pytest.raises(ModelError, match=f"the signing key {key} cannot be used .*openssl genpkey") as caught:
            begin()
        assert "\n" not in str(caught.value)


def test_a_key_may_have_a_password(model: Path, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sign_with(make_key(tmp_path, "closed", "-aes-256-cbc", "-pass", "pass:hush"), monkeypatch)
    with pytest.raises(ModelError, match="cannot be used"):
        require_signer()
    monkeypatch.setenv("REVIEWS_PARSING_SIGNING_PASSWORD", "hush")
    sign(model, signature_file(model))
    trust(tmp_path / "closed.pub", monkeypatch)
    assert registry.locate(model) == (model, None)


def test_without_the_extra_a_policy_is_one_line(model: Path, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signed(model, keys / "mine.pem", monkeypatch)
    trust(keys / "mine.pub", monkeypatch)
    for name in ("model_signing.verifying", "model_signing.signing"):
        monkeypatch.setitem(sys.modules, name, None)
    for use in (lambda: registry.locate(model), require_signer):
        with pytest.raises(ModelError, match=r"needs model-signing .*pip install 'reviews-parsing\[signing\]'"):
            use()


def test_a_run_is_signed_when_its_model_is_logged(
    home: Path, model: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_with(keys / "mine.pem", monkeypatch)
    run_id = log_folder(model, monkeypatch)
    target = model.with_name("fetched") / SIGNATURE_FILE
    target.parent.mkdir()
    signatures.download_signature(f"runs:/{run_id}/x", str(target.parent))
    trust(keys / "mine.pub", monkeypatch)
    signatures.require_trusted(model, target, "it")


def test_without_a_key_nothing_is_signed(home: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = log_folder(model, monkeypatch)
    with registry.tracking() as client:
        assert client.list_artifacts(run_id) == []


def test_an_unsigned_version_is_refused_until_it_is_signed(
    home: Path, keys: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trust(keys / "mine.pub", monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr("onnxruntime.InferenceSession", lambda *_, **__: pytest.fail("it was loaded"))
        for uri in (CHAMPION, FIRST):
            with pytest.raises(ModelNotTrusted, match=r"version 1 of .* is not signed.*`reviews-parsing sign`"):
                registry.locate(uri)
        shutil.rmtree(home / "models")
        with pytest.raises(ModelNotTrusted, match=r"version 1 of .* is not signed"):
            registry.locate(CHAMPION)
    with pytest.raises(ModelNotTrusted, match="is not signed"):
        registry.locate()
    # A signature that comes later is fetched for the folder that is there.
    monkeypatch.delenv("REVIEWS_PARSING_TRUST")
    registry.fetch(CHAMPION)
    sign_with(keys / "mine.pem", monkeypatch)
    command("sign", CHAMPION, monkeypatch=monkeypatch)
    assert "signed models:/" in capsys.readouterr().out
    trust(keys / "mine.pub", monkeypatch)
    command("verify", CHAMPION, monkeypatch=monkeypatch)
    assert "is signed as" in capsys.readouterr().out
    folder, _ = registry.locate(FIRST)
    assert signature_file(folder).is_file()
    # Whoever can write to the home folder can change the checksums there too.
    (folder / MODEL_FILE).write_bytes(b"other weights")
    checksums = folder.with_name(f"{folder.name}.sha256")
    digest = subprocess.run(
        ["sha256sum", *sorted(path.name for path in folder.iterdir())], cwd=folder, capture_output=True, check=True
    )
    checksums.write_bytes(digest.stdout)
    with pytest.raises(ModelNotTrusted, match=f"{REFUSED}model.onnx has SHA-256"):
        registry.locate(FIRST)
    # A fetch keeps the signature, which is then verified without the store.
    shutil.rmtree(home / "models")
    folder, _ = registry.locate(FIRST)
    monkeypatch.setattr(FETCH, "download_signature", lambda *_: pytest.fail("it was fetched"))
    assert registry.locate(FIRST) == (folder, "1")
    trust(keys / "other.pub", monkeypatch)
    monkeypatch.setattr(FETCH, "download_signature", unreachable)
    with pytest.raises(ModelNotTrusted, match=f"{REFUSED}its signature is by another key"):
        registry.locate(FIRST)
    with pytest.raises(SystemExit) as ended:
        command("parse", "Lovely ramen.", monkeypatch=monkeypatch)
    assert ended.value.code == 1
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: version 1 of")
    assert "\n" not in error


def unreachable(*_: object) -> None:
    raise TrackingError("no server")


def command(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["reviews-parsing", *arguments])
    try:
        main()
    except SystemExit as ended:
        if ended.code:
            raise


def test_a_signature_that_cannot_be_kept_beside_the_copy_is_kept_with_another(
    home: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server verifies the folder that it gets, without the registry."""
    shared, _ = registry.fetch(FIRST)
    sign_with(keys / "mine.pem", monkeypatch)
    command("sign", FIRST, monkeypatch=monkeypatch)
    trust(keys / "mine.pub", monkeypatch)
    signature_file(shared).unlink(missing_ok=True)
    signature_file(shared).mkdir()
    for _ in range(2):
        folder, version = registry.locate(FIRST)
        assert (folder.parents[1], version) == (home / "unshared", "1")
        assert registry.locate(folder) == (folder, None)


def test_a_run_that_was_logged_without_a_key_is_signed_when_it_is_registered(
    home: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = registry.versions()[0].run_id
    sign_with(keys / "mine.pem", monkeypatch)
    trust(keys / "mine.pub", monkeypatch)
    assert registry.register(run_id, "another-model") == "1"
    assert registry.fetch("models:/another-model/1")[1] == "1"
    with registry.tracking() as client:
        assert SIGNATURE_FILE in {file.path for file in client.list_artifacts(run_id)}


def test_a_run_is_verified_as_its_versions_are(home: Path, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = f"runs:/{registry.versions()[0].run_id}"
    trust(keys / "mine.pub", monkeypatch)
    for _ in range(2):
        with pytest.raises(ModelNotTrusted, match=r"the model of run \w+ is not signed"):
            registry.locate(source)
        # The copy that is there from now on is not trusted either.
        registry.locate(source, check_trust=False)
    sign_with(keys / "mine.pem", monkeypatch)
    command("sign", source, monkeypatch=monkeypatch)
    folder, _ = registry.locate(source)
    assert registry.locate(FIRST)[1] == "1"
    (folder / CONFIG_FILE).write_bytes((folder / CONFIG_FILE).read_bytes() + b" ")
    folder, _ = registry.locate(source)  # a damaged copy is fetched again
    trust(keys / "other.pub", monkeypatch)
    with pytest.raises(ModelNotTrusted, match="its signature is by another key"):
        registry.locate(source)


def test_the_pretrained_model_stands_in_for_no_signed_champion(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trust(keys / "mine.pub", monkeypatch)
    with pytest.raises(ModelError, match="champion"):
        registry.locate()
    assert registry.locate("pretrained")[1] == "pretrained"


def test_verify_without_a_policy_is_a_wrong_call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        command("verify", "pretrained", monkeypatch=monkeypatch)
    assert ended.value.code == 2
    assert "set REVIEWS_PARSING_TRUST" in capsys.readouterr().err


def test_sign_without_a_key_says_which_setting(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        command("sign", str(model), monkeypatch=monkeypatch)
    assert ended.value.code == 1
    assert "set REVIEWS_PARSING_SIGNING_KEY" in capsys.readouterr().err

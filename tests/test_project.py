import pytest
from hypothesis import given
from hypothesis import strategies as st

from safetycatch.errors import ExperimentError, InputError
from safetycatch.experiment import KNOWN_PARAMS, ModelName, parse_experiment
from safetycatch.project import (
    EndpointSettings,
    Project,
    ProjectSettings,
    address_of,
    checked_url,
    find_project,
    is_loopback,
    key_variable,
    require_key,
    variable,
)

LOCAL = "http://127.0.0.1:8000/v1"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in ("SAFETYCATCH_STORE", "SAFETYCATCH_ENDPOINT_GPU", "SAFETYCATCH_ENDPOINT_OPENAI"):
        monkeypatch.delenv(name, raising=False)


def project(tmp_path, **endpoints):
    settings = ProjectSettings.model_validate({"endpoints": endpoints})
    return Project(tmp_path, settings, declared=True)


def model(name="llama", endpoint="gpu"):
    return ModelName(endpoint=endpoint, model=name)


def test_without_a_file_the_folder_is_the_project(tmp_path):
    found = find_project(tmp_path)
    assert (found.root, found.declared, found.settings) == (tmp_path, False, ProjectSettings())


def test_the_nearest_parent_wins(tmp_path):
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "safetycatch.yaml").write_text("store: outer", encoding="utf-8")
    (tmp_path / "a" / "safetycatch.yaml").write_text("store: inner", encoding="utf-8")
    found = find_project(inner / "x.yaml")
    assert (found.root, found.settings.store, found.declared) == (tmp_path / "a", "inner", True)


def test_an_empty_file_declares_a_project(tmp_path):
    (tmp_path / "safetycatch.yaml").touch()
    assert find_project(tmp_path).declared


def test_pyproject_may_hold_the_settings(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[tool.safetycatch]\nstore = "s"\n', encoding="utf-8")
    found = find_project(tmp_path)
    assert (found.settings.store, found.declared) == ("s", True)


def test_another_pyproject_is_passed_over(tmp_path):
    (tmp_path / "safetycatch.yaml").write_text("store: s", encoding="utf-8")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "pyproject.toml").write_text("[project]\nname = 'not [toml", encoding="utf-8")
    assert find_project(tmp_path / "a").root == tmp_path


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("safetycatch.yaml", "stores: x", "unknown key 'stores'"),
        ("safetycatch.yaml", "endpoints: {gpu: {uri: x}}", "unknown key 'uri'"),
        ("safetycatch.yaml", "catches: {SC501: never}", "found 'never'"),
        ("safetycatch.yaml", "- a", "a list"),
        ("pyproject.toml", "[tool.safetycatch]\nstores = 1", "tool.safetycatch: stores: unknown key"),
        ("pyproject.toml", "[tool.safetycatch]\nstore = ", "not valid TOML"),
        ("pyproject.toml", "[tool.safetycatch]\nstore = " + "[" * 100_000, "not valid TOML"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, name, text, said):
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(ExperimentError) as caught:
        find_project(tmp_path)
    assert said in str(caught.value)
    assert name in caught.value.where


@given(st.text())
def test_any_text_is_a_project_or_refused(tmp_path_factory, text):
    folder = tmp_path_factory.getbasetemp() / "fuzzed"
    folder.mkdir(exist_ok=True)
    (folder / "safetycatch.yaml").write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        assert find_project(folder).declared
    except ExperimentError as error:
        assert "safetycatch.yaml" in error.where  # noqa: PT017


def test_the_environment_moves_the_store(tmp_path, monkeypatch):
    assert find_project(tmp_path).store_root == tmp_path / ".safetycatch"
    monkeypatch.setenv("SAFETYCATCH_STORE", str(tmp_path / "elsewhere"))
    assert find_project(tmp_path).store_root == tmp_path / "elsewhere"


@pytest.mark.parametrize(
    ("name", "transport", "url", "key"),
    [
        ("openai/gpt-4o", "direct", "https://api.openai.com/v1", "OPENAI_API_KEY"),
        ("anthropic/claude", "litellm", None, None),
        ("ollama_chat/llama3.1", "litellm", None, None),
        ("sandbox/tiny", "direct", None, None),
    ],
)
def test_where_a_plain_name_answers(tmp_path, name, transport, url, key):
    found = address_of(ModelName(model=name), project(tmp_path))
    assert (found.transport, found.base_url, found.key_env) == (transport, url, key)


def test_an_endpoint_comes_from_the_project(tmp_path):
    found = address_of(model(), project(tmp_path, gpu=LOCAL + "/"))
    assert (found.name, found.base_url, found.key_env, found.model) == ("gpu", LOCAL, "SAFETYCATCH_KEY_GPU", "llama")


def test_the_environment_beats_the_project(tmp_path, monkeypatch):
    monkeypatch.setenv("SAFETYCATCH_ENDPOINT_GPU", "https://other.example/v1")
    assert address_of(model(), project(tmp_path, gpu=LOCAL)).base_url == "https://other.example/v1"


def test_the_environment_moves_openai(tmp_path, monkeypatch):
    monkeypatch.setenv("SAFETYCATCH_ENDPOINT_OPENAI", LOCAL)
    assert address_of(ModelName(model="openai/gpt-4o"), project(tmp_path)).base_url == LOCAL


def test_the_environment_alone_moves_a_provider_of_litellms(tmp_path, monkeypatch):
    def found():
        return address_of(ModelName(model="anthropic/claude"), project(tmp_path, anthropic=LOCAL))

    assert (found().base_url, found().key_env) == (None, None)
    monkeypatch.setenv("SAFETYCATCH_ENDPOINT_ANTHROPIC", LOCAL)
    monkeypatch.setenv("SAFETYCATCH_KEY_ANTHROPIC", "x")
    assert (found().transport, found().base_url) == ("litellm", LOCAL)
    assert key_variable(found()) == "SAFETYCATCH_KEY_ANTHROPIC"
    monkeypatch.setenv("SAFETYCATCH_ENDPOINT_ANTHROPIC", "http://other.example")
    with pytest.raises(InputError, match="plain http"):
        found()


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("anthropic/claude", "ANTHROPIC_BASE_URL"),
        ("ollama_chat/llama3.1", "OLLAMA_API_BASE"),
        ("azure/gpt-4o", "AZURE_API_VERSION"),
        ("bedrock/claude", "AWS_REGION_NAME"),
        ("vertex_ai/gemini", "VERTEXAI_LOCATION"),
        ("hosted_vllm/x", "HOSTED_VLLM_API_BASE"),
        ("lm_studio/x", "LM_STUDIO_API_BASE"),
        ("mistral/x", "USE_LITELLM_PROXY"),
    ],
)
def test_what_litellm_reads_from_the_environment_is_told_apart(tmp_path, monkeypatch, name, variable):
    def variant():
        return address_of(ModelName(model=name), project(tmp_path)).variant

    monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("OTHER_API_BASE", "http://x")
    before = variant()
    monkeypatch.setenv(variable, "https://me:hunter22@one")
    one = variant()
    monkeypatch.setenv(variable, "two")
    assert len({before, one, variant()}) == 3
    assert "hunter22" not in one


def test_the_environment_is_checked_too(tmp_path, monkeypatch):
    monkeypatch.setenv("SAFETYCATCH_ENDPOINT_GPU", "http://other.example/v1")
    with pytest.raises(InputError, match="SAFETYCATCH_ENDPOINT_GPU: plain http to other"):
        address_of(model(), project(tmp_path, gpu=LOCAL))


def test_an_endpoint_that_nothing_names_is_refused(tmp_path):
    with pytest.raises(InputError, match="no address for the endpoint 'gpu'") as caught:
        address_of(model(), project(tmp_path))
    assert caught.value.fix == "export SAFETYCATCH_ENDPOINT_GPU=http://127.0.0.1:8000/v1"


def test_a_misspelt_endpoint_names_the_nearest(tmp_path):
    with pytest.raises(InputError, match="did you mean 'gpu'"):
        address_of(model(endpoint="gpus"), project(tmp_path, gpu=LOCAL))


@pytest.mark.parametrize("key", ["url", "base_url", "api_base", "api_key"])
def test_an_experiment_cannot_say_where_a_model_answers(key):
    text = f"data: a\nprompts: [p]\nmodels: [{{endpoint: gpu, model: x, {key}: https://evil.example}}]"
    with pytest.raises(ExperimentError, match=f"unknown key '{key}'"):
        parse_experiment(text, "x.yaml", "x")
    assert key not in KNOWN_PARAMS


@pytest.mark.parametrize("name", ["my-gpu", "my_gpu"])
def test_names_of_variables(name):
    assert (variable("ENDPOINT", name), variable("KEY", name)) == (
        "SAFETYCATCH_ENDPOINT_MY_GPU",
        "SAFETYCATCH_KEY_MY_GPU",
    )


@pytest.mark.parametrize(
    "url",
    [
        "https://host/v1",
        "http://localhost:8000",
        "http://127.0.0.2/v1",
        "http://[::1]:8000/v1",
        "https://host:8443/a/b",
    ],
)
def test_addresses_that_are_allowed(url):
    assert checked_url(url + "/", "here") == url


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://host/v1", "plain http to host"),
        ("http://10.0.0.1/v1", "plain http"),
        ("http://127.1/v1", "plain http"),
        ("http://0.0.0.0/v1", "plain http"),
        ("http://localhost.evil.example/v1", "plain http"),
        ("http://127.0.0.1.evil.example", "plain http"),
        ("https://user:secret@host/v1", "user name or password"),
        ("https://user@host", "user name or password"),
        ("https://:secret@host", "user name or password"),
        ("https://@host", "user name or password"),
        ("http://127.0.0.1@evil.example", "user name or password"),
        ("https://host/v1?key=secret", "a base URL"),
        ("https://host/v1?", "a base URL"),
        ("https://host/v1#x", "a base URL"),
        ("https://host\\@evil.example", "a base URL"),
        ("https://host/v1\r\nX-Evil: 1", "a base URL"),
        ("https://ho st/v1", "a base URL"),
        ("ftp://host", "a base URL"),
        ("file:///etc/passwd", "a base URL"),
        ("host/v1", "a base URL"),
        ("https://", "a base URL"),
        ("https://host:99999", "not a URL"),
        ("https://[::1", "not a URL"),
        ("", "a base URL"),
    ],
)
def test_addresses_that_are_refused(url, said):
    with pytest.raises(InputError) as caught:
        checked_url(url, "here")
    assert said in str(caught.value)
    assert "secret@" not in str(caught.value)


def test_a_hosted_model_needs_its_key_before_the_start(tmp_path, monkeypatch):
    hosted = address_of(ModelName(model="openai/gpt-4o"), project(tmp_path))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(InputError, match="no key for openai"):
        require_key(hosted)
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    require_key(hosted)
    assert key_variable(hosted) == "OPENAI_API_KEY"


def test_an_own_server_may_have_no_key(tmp_path, monkeypatch):
    own = address_of(model(), project(tmp_path, gpu=LOCAL))
    monkeypatch.delenv("SAFETYCATCH_KEY_GPU", raising=False)
    assert key_variable(own) is None
    monkeypatch.setenv("SAFETYCATCH_KEY_GPU", "x")
    assert key_variable(own) == "SAFETYCATCH_KEY_GPU"


def test_plain_http_elsewhere_is_said_twice(tmp_path):
    settings = {"url": "http://10.0.0.1/v1", "insecure": True}
    assert address_of(model(), project(tmp_path, gpu=settings)).base_url == "http://10.0.0.1/v1"
    assert not EndpointSettings.model_validate(LOCAL).insecure


@given(st.text())
def test_any_address_is_allowed_or_refused(url):
    try:
        assert checked_url(url, "here").startswith(("http://", "https://"))
    except InputError as error:
        assert error.where == "here"  # noqa: PT017


@pytest.mark.parametrize(
    ("host", "here"),
    [("localhost", True), ("127.9.9.9", True), ("::1", True), ("192.168.0.1", False), ("::", False), ("", False)],
)
def test_loopback(host, here):
    assert is_loopback(host) is here

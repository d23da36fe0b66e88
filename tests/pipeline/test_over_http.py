"""The product's own server in the loop: a run asks over HTTP, is stopped in the middle, and goes on without paying for anything twice."""

from pathlib import Path

import pytest
import yaml
from commands import ran
from listening import served
from prompted import rated_log
from reasoning import TOKENIZER

from fathom.evaluation.results import read
from fathom.language.builtin import tiny
from fathom.language.policy import LocalPolicy
from fathom.language.remote import BudgetError, RemotePolicy

KEY = "sk-very-secret"
PRICES = {"price_read": 2.0, "price_written": 3.0}
WORLD = {"films": 60, "users": 40, "events": 9}
ASKS: dict[str, dict[str, object]] = {
    "ranking": {
        "world": WORLD,
        "models": {"popularity": None},
        "candidates": {"protocol": "has-target", "size": 6},
        "asked": {"words": {"users": 9, "reply_tokens": 8, "prompt_tokens": 400}},
    },
    "next": {"world": WORLD, "models": {"popularity": None}, "generated": {"words": {"users": 9, "reply_tokens": 8, "prompt_tokens": 400}}},
    "rating": {"asked": {"words": {"users": 9, "reply_tokens": 8, "prompt_tokens": 400}}},
}


@pytest.mark.parametrize("kind", ["completions", "chat"])
@pytest.mark.parametrize("method", ASKS)
def test_a_stopped_run_goes_on_and_pays_for_nothing_twice_and_no_file_holds_the_key(
    method: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FATHOM_TEST_KEY", KEY)
    monkeypatch.setattr("fathom.pipeline.asking.workshop.PIECE", 2)
    caplog.set_level("DEBUG")
    requests: list[tuple[str, int, int]] = []
    usual = RemotePolicy._written

    def counted(policy: RemotePolicy, pieces: object, *rest: object, **how: object) -> object:
        kept = usual(policy, pieces, *rest, **how)  # type: ignore[arg-type]
        requests.append((str(pieces), kept.read, kept.written))
        return kept

    monkeypatch.setattr(RemotePolicy, "_written", counted)
    policy = LocalPolicy(tiny(TOKENIZER, width=32, layers=1, context=1024, seed=1), TOKENIZER)
    with served(policy, name="mine", key=KEY) as url:

        def recipe(name: str, **changes: object) -> Path:
            endpoint: dict[str, object] = {
                "base_url": url,
                "model": "mine",
                "kind": kind,
                "api_key_variable": "FATHOM_TEST_KEY",
                "parallel": 1,
            }
            endpoint |= PRICES | changes
            made: dict[str, object] = {"method": method, "name": "tiny", "encoder": "hashing", "endpoint": endpoint} | ASKS[method]
            if method == "rating":
                made["source"] = {"name": str(rated_log(tmp_path))}
            path = tmp_path / f"{name}.yaml"
            path.write_text(yaml.safe_dump(made), encoding="utf-8")
            return path

        def run(name: str, folder: str, cache: str, **changes: object) -> str:
            monkeypatch.setenv("FATHOM_CACHE", str(tmp_path / cache))
            return ran(recipe(name, **changes), tmp_path / folder)

        whole = run("whole", "whole", "other")
        asked = len(requests)
        half = sum(read + written for _, read, written in requests) // 2
        with pytest.raises(BudgetError, match=f"the token budget of {half:,} is used up"):
            run("poor", "stopped", "cache", token_budget=half)
        stopped = len(requests) - asked
        assert 2 <= stopped < asked, "in the middle"
        assert list((tmp_path / "stopped" / "asked").glob("words@*.gz")), "what was said by then is there"
        said = run("rich", "stopped", "cache", token_budget=10**9)
    assert len(requests) == 2 * asked
    assert sorted(requests[:asked]) == sorted(requests[asked:])
    one, other = (read(tmp_path / folder / "results.json").row("words") for folder in ("whole", "stopped"))
    assert one is not None
    assert other is not None
    measured = [
        {name: value for name, value in row.metrics.items() if "seconds" not in name and "per_second" not in name} for row in (one, other)
    ]
    assert measured[0] == measured[1]
    assert one.metrics["money"] == pytest.approx(sum(2.0 * read + 3.0 * written for _, read, written in requests[:asked]) / 1e6 / one.users)
    assert one.metrics["questions"] * one.users == asked
    assert KEY not in whole + said + caplog.text
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".gz" for path in files)
    assert not [path for path in files if KEY.encode() in path.read_bytes()]

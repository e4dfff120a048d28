"""Licence names that the Hugging Face Hub knows; it refuses a model card with any other. Pure.

https://huggingface.co/docs/hub/repositories-licenses
"""

from __future__ import annotations

import re

HUB_LICENSES = frozenset(
    """apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0
    bigcode-openrail-m afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0
    cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0
    cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0
    cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl
    gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc intel-research lppl-1.3c ms-pl apple-ascl apple-amlr mpl-2.0 odc-by
    odbl openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl lgpl-lr deepfloyd-if-license
    fair-noncommercial-research-license llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 gemma unknown other""".split()  # noqa: SIM905 - a list of lines would be three pages long
)


def front_matter_license(wanted: str | None) -> list[tuple[str, str]]:
    """The front matter's lines: a licence the Hub knows, or ``other`` with the name it goes by. Empty when none is
    known: nothing is claimed."""
    if not wanted or not wanted.strip():
        return []
    name = wanted.strip().lower()
    if name in HUB_LICENSES:
        return [("license", name)]
    slug = re.sub(r"[^a-z0-9.+-]+", "-", name).strip("-")[:60]
    return [("license", "other"), *([("license_name", slug)] if slug else [])]

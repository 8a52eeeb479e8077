"""Makes `golden/rules-2018.json`: what the scripts of 2018 did to text, before spaCy split it.

    pip download --no-deps fastai==0.7.0 && unzip fastai-0.7.0-py3-none-any.whl fastai/text.py
    python tests/parity/make_rules_2018.py fastai/text.py create_toks.py

The second file is `courses/dl2/imdb_scripts/create_toks.py` of the repository fastai/fastai at
commit 14e0228d72ab7915d19ff5c4f22be96c71916e41. Only the functions needed are taken from either:
what else they import is long out of use.
"""

from __future__ import annotations

import ast
import html
import json
import re
import sys
from pathlib import Path
from typing import Any

GOLDEN = Path(__file__).with_name("golden") / "rules-2018.json"

TEXTS = [
    "",
    "A film.",
    "THE FILM was GREAT, and so WAS IT",
    "I saw UP on TV in the USA",
    "wowwww, sooo good!!!! aaa bbbb",
    "no no no no no, very very very good",
    "bad bad bad bad",
    "Ha! Ha! Ha! Ha! Ha! it laughed",
    "first<br />second<BR>third< br/>fourth<br/>",
    "a &amp; b &lt;c&gt; d&#39;s nbsp;e #39; quot;x quot;",
    r"a \ b \n c \" d",
    "<unk> and @-@ well @-@ known 3 @.@ 5",
    "and/or #tag #one/two",
    "Wait... what.... no",
    "a  b   c    d",
    " leading and trailing  ",
    "line\none\n\n\n\n\ntwo\ttab",
    "İSTANBUL ÇOK GÜZEL, ΟΔΟΣ ΟΔΟΣ'Α ΣΑΣ straße STRASSE",
    "영화가 정말 재미있었다 ㅋㅋㅋㅋㅋㅋ",
    "映画は面白かった。。。。。",
    "A1B2 IBM360 __X__ X_Y_Z ABC_def",
    "¡¡¡¡QUÉ!!!! ÉTÉ été",
    "1111 22222 3.14159 1,000,000",
    "e.g. U.S.A. U.N. NASA's CAN'T DON'T",
    "---- ==== ____ ****",
    "x x x x X X X X",
    "the the the the the end",
    "🙂🙂🙂🙂🙂 ok",
    "&nbsp;&nbsp; &copy; &#8230; &#x41;",
    "<p>Some <b>HTML</b> text</p>",
]


def main(text_file: str, script: str) -> None:
    """Write the golden file."""
    fixup = _definitions(Path(script), ["re1", "fixup"])["fixup"]
    tokenizer = _definitions(Path(text_file), ["Tokenizer"])["Tokenizer"]
    made: Any = object.__new__(tokenizer)  # without spaCy
    made.re_br = re.compile(r"<\s*br\s*/?>", re.IGNORECASE)
    made.spacy_tok = made.sub_br
    rows = [{"text": text, "rules": made.proc_text(fixup(text))} for text in TEXTS]
    content = {"made_with": ["fastai 0.7.0", "create_toks.py at 14e0228d"], "rows": rows}
    GOLDEN.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _definitions(path: Path, names: list[str]) -> dict[str, Any]:
    """Run the definitions of these names in a file, and nothing else of it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if {*names} & {*_defined(node)}]
    space: dict[str, Any] = {"re": re, "html": html}
    exec(compile(tree, str(path), "exec"), space)
    return space


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    return [node.name] if isinstance(node, ast.FunctionDef | ast.ClassDef) else []


if __name__ == "__main__":
    main(*sys.argv[1:])

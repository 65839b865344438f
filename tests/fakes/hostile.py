"""Texts that some page, terminal, template or path might take for more than text."""

from __future__ import annotations

MARK = "it-ran"
"""What a text that was run would leave: in the page's title, or as a file's name."""

SCRIPT = f"<script>document.title='{MARK}';alert(1)</script>"

MARKUP = (
    SCRIPT,
    "</script></style></title></textarea></pre>--><script>alert(1)</script>",
    f"<img src=x onerror=\"document.title='{MARK}'\">",
    f'" onmouseover="document.title=\'{MARK}\'" autofocus onfocus="document.title=\'{MARK}\'" x="',
    f"' onclick='document.title=\"{MARK}\"' '",
    f"javascript:document.title='{MARK}'",
    "<svg onload=alert(1)><a href='javascript:alert(1)'>x</a></svg>",
    "<iframe srcdoc='<script>parent.document.title=1</script>'></iframe>",
    "]]><![CDATA[<b>&amp;&lt;&#60;script&#62;</b>",
    "<meta http-equiv=refresh content=\"0;url=javascript:alert(1)\"><base href='https://elsewhere/'>",
)
"""For pages."""

SIGNS = (
    "\u202eright to left\u202d \u2066isolated",
    "zero\u200bwidth\u200d\ufeff",
    "\x00\x01\x07\x08\x0b\x0c\x1b\x7f\x85\x9b\u2028\u2029",
    "e" + "\u0301" * 200,
)
"""For pages and terminals: signs that are not seen, or change what is seen around them."""

TERMINAL = (
    "\x1b[31mred\x1b[0m",
    "\x1b]8;;http://elsewhere\x1b\\link\x1b]8;;\x1b\\",
    "\x1b]0;title\x07",
    "\x1b[2J\x1b[H",
    "\x9b31mred",
    "over\rwritten",
    "back\b\b\b\bspace",
    "[red]markup[/red] [link=http://elsewhere]x[/link] :smile:",
)
"""For terminals."""

FORMAT = ("{source}", "{0}", "{", "}}{", "{word.__class__}", "%s %d %(name)s", "{text!r:>99}", "$x ${y}", "\\1 \\g<0>")
"""For templates."""

LONG = "<b>&\"'" * 20_000

ALL = (*MARKUP, *SIGNS, *TERMINAL, *FORMAT)

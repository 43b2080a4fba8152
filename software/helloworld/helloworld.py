"""The helloworld application.

    helloworld.py LISTEN_FILE PAGE_FILE

Both files are JSON and written by the instance profile. LISTEN_FILE (host,
port) is read once. PAGE_FILE (parameters, instance, node, partition, release)
is read again whenever it changed, so a new parameter needs no restart.

A URL in a profile is rendered by buildout: no dollar signs in this file.
"""
import json
import os
import sys

import bottle
import waitress

PAGE = bottle.SimpleTemplate("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{title}}</title>
<style>
:root { --accent: {{color}}; }
* { box-sizing: border-box; }
body { margin: 0; font: 16px/1.5 system-ui, sans-serif; color: #1f2937; background: #f3f4f6; }
header { padding: 4.5rem 1.5rem 6rem; color: #fff; background: var(--accent); text-align: center; }
header h1 { margin: 0; font-size: clamp(2rem, 7vw, 4rem); overflow-wrap: anywhere; text-shadow: 0 1px 3px #0006; }
header p { margin: .5rem 0 0; text-shadow: 0 1px 2px #0006; }
main { max-width: 46rem; margin: -3.5rem auto 3rem; padding: 0 1rem; }
section { background: #fff; border-radius: .75rem; padding: 1.25rem 1.75rem; margin-bottom: 1rem; box-shadow: 0 2px 10px #0002; }
h2 { font-size: 1rem; margin: 0 0 .5rem; color: #4b5563; }
table { width: 100%; border-collapse: collapse; }
th, td { text-align: left; vertical-align: top; padding: .45rem .5rem .45rem 0; border-top: 1px solid #e5e7eb; }
tr:first-child th, tr:first-child td { border-top: 0; }
th { width: 9rem; font-weight: 600; }
td { overflow-wrap: anywhere; font-family: ui-monospace, monospace; font-size: .9rem; }
footer { text-align: center; color: #6b7280; font-size: .85rem; padding-bottom: 2rem; }
footer a { color: inherit; }
</style>
</head>
<body>
<header><h1>{{greeting}}, {{name}}!</h1><p>{{title}}</p></header>
<main>
% for heading, rows in sections:
<section><h2>{{heading}}</h2><table>
% for key, value in rows:
<tr><th scope="row">{{key}}</th><td>{{value}}</td></tr>
% end
</table></section>
% end
</main>
<footer><a href="/parameters.json">parameters.json</a> &middot; <a href="/health">health</a></footer>
</body>
</html>
""")

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class Page:
    """The content of PAGE_FILE, as fresh as the file."""

    def __init__(self, path):
        self.path = path
        self.stamp = None
        self.content = self.read()

    def read(self):
        status = os.stat(self.path)
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        if stamp != self.stamp:
            with open(self.path, encoding="utf-8") as f:
                self.content = json.load(f)
            self.stamp = stamp
        return self.content

    def current(self):
        try:
            return self.read()
        except (OSError, ValueError) as error:
            # Being rewritten at this very moment: the next request gets it.
            print("keeping the old page, %s: %s" % (self.path, error), flush=True)
            return self.content


def as_text(value):
    return value if isinstance(value, str) else json.dumps(value)


def make_application(page):
    application = bottle.Bottle()

    @application.hook("after_request")
    def headers():
        for name, value in SECURITY_HEADERS.items():
            bottle.response.set_header(name, value)

    @application.get("/")
    def index():
        content = page.current()
        parameters = content["parameters"]
        return PAGE.render(
            title=parameters.get("title") or content["instance"],
            greeting=parameters["greeting"],
            name=parameters["name"],
            color=parameters["color"],
            sections=[
                ("Instance", [
                    ("Instance", content["instance"]),
                    ("Node", content["node"]),
                    ("Partition", content["partition"]),
                    ("Software release", content["release"]),
                ]),
                ("Parameters", [
                    (key, as_text(value)) for key, value in sorted(parameters.items())
                ]),
            ])

    @application.get("/health")
    def health():
        content = page.current()
        return {"status": "ok", "partition": content["partition"]}

    @application.get("/parameters.json")
    def parameters():
        return page.current()["parameters"]

    return application


def main(listen_file, page_file):
    with open(listen_file, encoding="utf-8") as f:
        listen = json.load(f)
    page = Page(page_file)
    waitress.serve(
        make_application(page), host=listen["host"], port=listen["port"],
        threads=4, ident="helloworld")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: helloworld.py LISTEN_FILE PAGE_FILE")
    main(*sys.argv[1:])

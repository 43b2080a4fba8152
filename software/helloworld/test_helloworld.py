"""What can be wrong with this release and shows without building it.

    python3 software/helloworld/test_helloworld.py

Needs nothing but Python. The whole life of an instance is tested end to end,
with real nodes, in tests/.
"""
import json
import os
import re
import socket
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))


def read(name):
    with open(os.path.join(HERE, name), encoding="utf-8") as f:
        return f.read()


def rendered_files():
    return re.findall(r"^url = \$\{profile:base\}/(\S+)$", read("software.cfg"), re.MULTILINE)


class Release(unittest.TestCase):
    def test_every_file_of_the_profile_exists(self):
        self.assertEqual(len(rendered_files()), 6)
        for name in rendered_files():
            self.assertTrue(os.path.isfile(os.path.join(HERE, name)), name)

    def test_only_the_instance_profile_has_something_to_substitute(self):
        for name in rendered_files():
            if name != "instance.cfg.in":
                self.assertNotRegex(read(name), r"\$\$|\$\{", name)

    def test_every_version_is_pinned(self):
        profile = read("software.cfg")
        eggs = re.search(r"^eggs =\n((?:  \S+\n)+)", profile, re.MULTILINE).group(1).split()
        pins = dict(re.findall(r"^(\S+) = (\S+)$", profile.partition("[versions]")[2], re.MULTILINE))
        self.assertEqual(set(eggs), set(pins))

    def test_schemas_are_where_the_release_says(self):
        software = json.loads(read("software.cfg.json"))
        self.assertEqual(software["serialisation"], "json-in-xml")
        for entry in software["software-type"].values():
            for key in ("request", "response"):
                self.assertEqual(json.loads(read(entry[key]))["type"], "object")

    def test_defaults_obey_their_own_schema(self):
        for name, schema in json.loads(read("instance-input-schema.json"))["properties"].items():
            if "default" in schema:
                self.assertIsInstance(schema["default"], str, name)
                self.assertGreaterEqual(len(schema["default"]), schema.get("minLength", 0), name)
                self.assertRegex(schema["default"], schema.get("pattern", "^"), name)

    def test_colour_cannot_leave_the_style_sheet(self):
        pattern = json.loads(read("instance-input-schema.json"))["properties"]["color"]["pattern"]
        for good in ("#12abEF", "navy"):
            self.assertRegex(good, pattern)
        for bad in ("", "red;}", "</style>", "#12345", "url(x)", "red blue"):
            self.assertNotRegex(bad, pattern)


class ListeningPromise(unittest.TestCase):
    def check(self, port):
        program = read("helloworld_promise.py").replace("WAIT_SECONDS = 8", "WAIT_SECONDS = 0")
        self.assertIn("WAIT_SECONDS = 0", program)
        return subprocess.run(
            (sys.executable, "-c", program, "127.0.0.1", str(port)),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def test_passes_when_something_listens_and_fails_otherwise(self):
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            port = server.getsockname()[1]
            server.listen()
            result = self.check(port)
            self.assertEqual(result.returncode, 0, result.stdout)
        result = self.check(port)
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("nothing listens on 127.0.0.1 port %s" % port, result.stdout)


if __name__ == "__main__":
    unittest.main()

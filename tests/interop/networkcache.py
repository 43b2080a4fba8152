"""What the released slapos.libnetworkcache does with a network cache, step by step."""
import io, json, os, subprocess, urllib.request
from slapos.libnetworkcache import NetworkcacheClient

os.chdir(os.environ["HOME"])
todo = json.load(open("../networkcache.json"))
for name in "good", "bad":
    if not os.path.exists(name + ".key"):
        subprocess.check_call(
            ["openssl", "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-days", "9",
             "-subj", "/CN=" + name, "-keyout", name + ".key", "-out", name + ".crt"],
            stderr=subprocess.DEVNULL)


def client(signer):
    configuration = dict(todo["configuration"])
    if signer:
        configuration["signature-private-key-file"] = signer + ".key"
    return NetworkcacheClient(configuration, open(signer + ".crt").read() if signer else "")


def keys():
    return True


def upload(signer, key, text):
    client(signer).upload(io.BytesIO(text.encode()), key, file=text)
    return True


def select(signer, key):
    cache = client(signer)
    return [cache.download(found["sha512"]).read().decode() for found in cache.select(key)]


def metadata(signer, key):
    import hashlib
    cache = client(signer)
    found = list(cache.select(key))
    for one in found:
        content = cache.download(one["sha512"]).read()
        one["matches"] = hashlib.sha512(content).hexdigest() == one["sha512"]
    return found


def resume(sum, start):
    url = todo["configuration"]["download-cache-url"] + "/" + sum
    request = urllib.request.Request(url, headers={"Range": "bytes=%d-" % start})
    return urllib.request.urlopen(request).read().decode()


def anonymous(method, url, text):
    """Without a certificate, which the library does not do over TLS."""
    import ssl
    context = ssl.create_default_context(cafile=todo["authority"])
    request = urllib.request.Request(url, text.encode() or None, method=method)
    return urllib.request.urlopen(request, context=context).read().decode()


def large(mebibytes):
    with open("large", "wb") as file:
        for number in range(mebibytes):
            file.write(bytes([number]) * (1 << 20))
    cache = client("good")
    with open("large", "rb") as file:
        cache.upload(file, "large", file="large")
    found, = cache.select("large")
    with open("large", "rb") as file:
        return cache.download(found["sha512"]).read() == file.read()


for step, *arguments in todo["steps"]:
    try:
        result = globals()[step](*arguments)
    except Exception as error:
        result = str(error)
    print(json.dumps(result))

"""A kubelet's calls to a CRI runtime (kubernetes' cri-api, runtime/v1/api.proto), one line for each step.

Messages are dicts of field number and value, as protobuf puts them on the wire: no generated code is needed.
"""

import os
import sys
import time
import urllib.request

import grpc

CHANNEL = grpc.insecure_channel(f"unix://{sys.argv[1]}")
HANDLER = "under-test"
POD, CONTAINER, NODE = range(3)  # NamespaceMode
RUNNING, EXITED = 1, 2  # ContainerState


def varint(number):
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def encode(message):
    out = b""
    for field, values in message.items():
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, int):
                out += varint(field << 3) + varint(value)
            else:
                data = encode(value) if isinstance(value, dict) else value.encode()
                out += varint(field << 3 | 2) + varint(len(data)) + data
    return out


def decode(data):
    """A message as {field: [int or bytes]}."""
    at, message = 0, {}

    def number():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        key = number()
        value = number()
        if key & 7 == 2:
            at, value = at + value, data[at : at + value]
        message.setdefault(key >> 3, []).append(value)
    return message


def call(method, message=None):
    ask = CHANNEL.unary_unary(f"/runtime.v1.RuntimeService/{method}", encode, decode)
    return ask(message or {}, timeout=60)


def inside(message, *fields):
    """The value that lies at fields, one message in the other."""
    for field in fields[:-1]:
        message = decode(message[field][0])
    return message.get(fields[-1], [0])[0]


def step(name, is_right, said=""):
    print(f"ok: {name}" if is_right else f"FAILED: {name}: {said}", flush=True)


def until(what, is_so):
    for _ in range(300):
        if is_so():
            return step(what, True)
        time.sleep(0.1)
    step(what, False, "never")


class Pod:
    def __init__(self, name, security, hostname="", sysctls=None):
        self.logs = f"/run/work/logs-{name}"
        os.mkdir(self.logs)
        linux = {1: "/minibox-engines/" + name, 2: security, 3: [{1: k, 2: v} for k, v in (sysctls or {}).items()]}
        self.config = {1: {1: name, 2: "uid-" + name, 3: "default"}, 2: hostname, 3: self.logs, 8: linux}
        self.id = call("RunPodSandbox", {1: self.config, 2: HANDLER})[1][0].decode()

    def container(self, name, command, resources=None, security=None, mounts=()):
        config = {1: {1: name}, 2: {1: "localhost/box:latest"}, 3: command, 7: list(mounts), 11: name + ".log"}
        config[15] = {1: resources or {}, 2: security or {}}
        made = call("CreateContainer", {1: self.id, 2: config, 3: self.config})[1][0].decode()
        call("StartContainer", {1: made})
        return made

    def log(self, name):
        with open(f"{self.logs}/{name}.log") as file:
            return file.read()

    def remove(self):
        call("StopPodSandbox", {1: self.id})
        call("RemovePodSandbox", {1: self.id})


def status(container):
    return decode(call("ContainerStatus", {1: container})[1][0])


def is_in(state, container):
    return status(container).get(3, [0])[0] == state


def execute(container, *command, timeout=20):
    """Exit code and output."""
    answer = call("ExecSync", {1: container, 2: list(command), 3: timeout})
    return answer.get(3, [0])[0], (answer.get(1, [b""])[0] + answer.get(2, [b""])[0]).decode()


def expect(code, text, container, *command):
    got = execute(container, *command)
    step("ExecSync " + " ".join(command), got[0] == code and text in got[1], got)


step("Version", b"containerd" in call("Version")[2])
conditions = [decode(each) for each in decode(call("Status")[1][0])[1]]
step("Status", all(each.get(2) == [1] for each in conditions), conditions)

# A pod with a network of its own, a filter, and a server in it that has next to no rights.
pod = Pod("one", {9: {1: 0}}, "one", {"net.ipv4.ip_unprivileged_port_start": "0"})
address = inside(call("PodSandboxStatus", {1: pod.id}), 1, 5, 1)
step("RunPodSandbox", address.startswith(b"10.88.7."), address)
limits = {1: 100000, 2: 50000, 3: 512, 4: 64 << 20, 5: 500}
least = {1: {2: ["ALL"]}, 3: {2: CONTAINER}, 5: {1: 1000}, 7: 1, 11: 1, 15: {1: 0}}
server = pod.container(
    "server", ["python", "-u", "-m", "http.server", "80"], limits, least, [{1: "/share", 2: "/run/share", 3: 1}]
)
until("the server runs", lambda: is_in(RUNNING, server))


def answers():
    try:
        return b"while_loop.py" in urllib.request.urlopen(f"http://{address.decode()}/", timeout=5).read()
    except OSError:
        return False


until("the pod's address answers", answers)
until("its log, in the CRI's format", lambda: " stderr F " in pod.log("server") or " stdout F " in pod.log("server"))
expect(0, "hi", server, "echo", "hi")
expect(3, "", server, "sh", "-c", "exit 3")
expect(0, "uid=1000", server, "id")
expect(0, "one", server, "hostname")
expect(0, "shared", server, "cat", "/share/file")
expect(1, "Read-only", server, "touch", "/file")
expect(0, "CapEff:\t0000000000000000", server, "cat", "/proc/self/status")
expect(0, "NoNewPrivs:\t1", server, "cat", "/proc/self/status")
expect(0, "Seccomp:\t2", server, "cat", "/proc/self/status")
expect(0, "500", server, "cat", "/proc/1/oom_score_adj")
try:
    step("ExecSync takes too long", False, execute(server, "sleep", "100", timeout=1))
except grpc.RpcError as error:
    step("ExecSync takes too long", "timeout" in error.details(), error.details())
memory = inside(call("ContainerStats", {1: server}), 1, 3, 2, 1)
step("ContainerStats", 0 < memory < 64 << 20, memory)
call("UpdateContainerResources", {1: server, 2: {4: 96 << 20, 2: 70000, 1: 100000}})
limit = open(f"/sys/fs/cgroup/memory/minibox-engines/one/{server}/memory.limit_in_bytes").read().strip()
step("UpdateContainerResources", limit == str(96 << 20), limit)

# A second container beside it shares the pod's network, and asks for its processes, too.
beside = pod.container("beside", ["sleep", "1000"], security={3: {2: POD}, 15: {1: 0}})
expect(0, "while_loop.py", beside, "python", "-c", "from urllib.request import *; print(urlopen('http://127.0.0.1/').read())")
expect(0, "sleep 100000", beside, "sh", "-c", "tr '\\0' ' ' </proc/1/cmdline")

# How containers end.
seven = pod.container("seven", ["sh", "-c", "echo bye; exit 7"])
until("one ends", lambda: is_in(EXITED, seven))
step("with its exit code", status(seven).get(7) == [7], status(seven))
step("and its last words", " stdout F bye" in pod.log("seven"), pod.log("seven"))
hungry = pod.container("hungry", ["tail", "/dev/zero"], {4: 20 << 20})
until("one takes too much memory", lambda: is_in(EXITED, hungry))
step("and is said to", status(hungry).get(10) == [b"OOMKilled"], status(hungry).get(10))
try:
    pod.container("missing", ["nonexist"])
    step("StartContainer of what is not there", False)
except grpc.RpcError as error:
    step("StartContainer of what is not there", "executable file not found" in error.details(), error.details())

call("StopContainer", {1: server, 2: 1})
step("StopContainer", is_in(EXITED, server), status(server))
for one in call("ListContainers").get(1, []):
    call("RemoveContainer", {1: decode(one)[1][0].decode()})
step("RemoveContainer", not call("ListContainers"))
pod.remove()

# The node's own namespaces, and every right.
node = Pod("two", {1: {1: NODE, 2: NODE, 3: NODE}, 6: 1})
free = node.container("free", ["sleep", "1000"], security={2: 1, 3: {1: NODE, 2: NODE, 3: NODE}})
expect(0, "engines/cri", free, "cat", "/proc/1/cmdline")
expect(0, "Seccomp:\t0", free, "cat", "/proc/self/status")
node.remove()
step("RemovePodSandbox", not call("ListPodSandbox"))

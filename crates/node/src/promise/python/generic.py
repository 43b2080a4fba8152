"""Stand-in for slapos.grid.promise.generic: the base class of promise plugins.

A promise logs what it senses; whether it failed is read back from its log, so the log is its state.
"""
import logging
import os
import random
import re
import time
from datetime import datetime, timedelta

PROMISE_RESULT_FOLDER_NAME = ".slapgrid/promise/result"
PROMISE_LOG_FOLDER_NAME = ".slapgrid/promise/log"
PROMISE_PARAMETER_NAME = "extra_config_dict"

MESSAGE_MAX = 5000
LOG_TAIL_BYTES = 256 * 1024

LINE = re.compile(
    r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) - (\w+) - (\d+)-(\d+) - (.*)$")


class BaseResult(object):
    type = "Base Result"

    def __init__(self, problem=False, message=None, date=None):
        self.__problem = problem
        self.__message = message
        self.__date = datetime.utcnow() if date is None else date

    def hasFailed(self):
        return self.__problem

    @property
    def message(self):
        return self.__message

    @property
    def date(self):
        return self.__date


class TestResult(BaseResult):
    type = "Test Result"


class AnomalyResult(BaseResult):
    type = "Anomaly Result"


class EmptyResult(BaseResult):
    type = "Empty Result"


class PromiseQueueResult(object):
    def __init__(self, path=None, name=None, title=None, item=None, execution_time=0):
        self.path = path
        self.name = name
        self.title = title
        self.item = item
        self.execution_time = execution_time


def _truth(value):
    return str(value).strip().lower() in ("true", "yes", "on", "1")


class GenericPromise(object):
    def __init__(self, config):
        self.__config = config
        self.__log_folder = config.pop("log-folder", None)
        self.__partition_folder = config.pop("partition-folder", None)
        self.__debug = config.pop("debug", True)
        self.__name = config.pop("name", None)
        self.__path = config.pop("path", None)
        self.__queue = config.pop("queue", None)
        self.__title = os.path.splitext(self.__name)[0]
        self.__bang = _truth(config.pop("bang-on-failure", "false"))
        self.__is_tested = True
        self.__is_anomaly_detected = True
        self.setPeriodicity(config.pop("periodicity", 2))
        self.__id = "%s-%s" % (int(time.time()), random.randint(100, 999))
        self.__log_file = None
        self.__configure_logger()

    def __configure_logger(self):
        self.logger = logging.getLogger("promise.%s.%s" % (self.__title, id(self)))
        self.logger.setLevel(logging.DEBUG if self.__debug else logging.INFO)
        self.logger.propagate = False
        if self.__log_folder is None:
            handler = logging.StreamHandler()
        else:
            self.__log_file = os.path.join(self.__log_folder, "%s.log" % self.__title)
            handler = logging.FileHandler(self.__log_file)
        handler.setFormatter(logging.Formatter(
            "%(asctime)s - %(levelname)s - " + self.__id + " - %(message)s",
            datefmt="%Y-%m-%d %H:%M:%S"))
        self.logger.addHandler(handler)

    def getConfig(self, key, default=None):
        return self.__config.get(key, default)

    def setConfig(self, key, value):
        self.__config[key] = value

    def getTitle(self):
        return self.__title

    def getName(self):
        return self.__name

    def getPromiseFile(self):
        return self.__path

    def getLogFile(self):
        return self.__log_file

    def getLogFolder(self):
        return self.__log_folder

    def getPartitionFolder(self):
        return self.__partition_folder

    def setPeriodicity(self, minute):
        if minute <= 0:
            raise ValueError("Cannot set promise periodicity to a value less than 1")
        self.__periodicity = minute

    def getPeriodicity(self):
        return self.__periodicity

    def setTestLess(self):
        self.__is_tested = False

    def isTested(self):
        return self.__is_tested

    def setAnomalyLess(self):
        self.__is_anomaly_detected = False

    def isAnomalyDetected(self):
        return self.__is_anomaly_detected

    def allowBang(self, allowed):
        self.__bang = bool(allowed)

    def sense(self):
        raise NotImplementedError("a promise must define sense()")

    def test(self):
        return self._test()

    def anomaly(self):
        return self._anomaly()

    def __executions(self, latest_minute=0):
        """All executions in the log's end, the latest first: [id, date, failed, messages]."""
        if self.__log_file is None or not os.path.exists(self.__log_file):
            return []
        for handler in self.logger.handlers:
            handler.flush()
        with open(self.__log_file, "rb") as f:
            f.seek(max(0, os.path.getsize(self.__log_file) - LOG_TAIL_BYTES))
            text = f.read().decode("utf-8", "replace")
        found = []
        for line in text.splitlines():
            match = LINE.match(line)
            if match is None:
                if found:
                    found[-1][3].append(line)
                continue
            date, level, seconds, number, message = match.groups()
            ident = "%s-%s" % (seconds, number)
            if not found or found[-1][0] != ident:
                found.append([ident, datetime.fromtimestamp(int(seconds)), False, []])
            if level in ("ERROR", "CRITICAL"):
                found[-1][2] = True
            found[-1][3].append(message)
        found.reverse()
        if latest_minute:
            oldest = datetime.now() - timedelta(minutes=latest_minute)
            found = [execution for execution in found if execution[1] >= oldest]
        return found

    def getLastPromiseResultList(self, latest_minute=0, result_count=1, only_failure=False):
        result = []
        for _, date, failed, messages in self.__executions(latest_minute)[:result_count]:
            if failed or not only_failure:
                result.append([{
                    "date": date,
                    "status": "ERROR" if failed else "INFO",
                    "message": "\n".join(messages),
                }])
        return result

    def __judge(self, kind, result_count, failure_amount, latest_minute):
        executions = self.__executions(latest_minute)[:result_count]
        if not executions:
            return kind(problem=False, message="No result found!")
        message = "\n".join(executions[0][3])
        if len(message) > MESSAGE_MAX:
            message = "..." + message[-MESSAGE_MAX:]
        failures = sum(1 for execution in executions if execution[2])
        problem = executions[0][2] and failures >= failure_amount
        return kind(problem=problem, message=message)

    def _test(self, result_count=1, failure_amount=1, latest_minute=0):
        return self.__judge(TestResult, result_count, failure_amount, latest_minute)

    def _anomaly(self, result_count=1, failure_amount=1, latest_minute=0):
        return self.__judge(AnomalyResult, result_count, failure_amount, latest_minute)

    def __send(self, item):
        self.__queue.put_nowait(PromiseQueueResult(
            path=self.__path, name=self.__name, title=self.__title, item=item))

    def run(self, check_anomaly=False, can_bang=True):
        if not self.__is_tested and not self.__is_anomaly_detected:
            kind = AnomalyResult if check_anomaly else TestResult
            return self.__send(kind(
                problem=True,
                message="It's not allowed to disable both Test and Anomaly in promise!"))
        wanted = self.__is_anomaly_detected if check_anomaly else self.__is_tested
        if not wanted:
            return self.__send(EmptyResult())
        try:
            self.sense()
        except Exception as error:
            self.logger.error(str(error))
        kind = AnomalyResult if check_anomaly else TestResult
        try:
            result = self.anomaly() if check_anomaly else self.test()
            if result is None:
                result = kind(problem=True, message="the promise gave no result")
        except Exception as error:
            result = kind(problem=True, message=str(error))
        if (check_anomaly and can_bang and self.__bang
                and isinstance(result, AnomalyResult) and result.hasFailed()):
            self.__do_bang("Promise %s is failing" % self.__title)
        self.__send(result)

    def __do_bang(self, message):
        master = self.__config.get("master-url")
        node = self.__config.get("computer-id")
        partition = self.__config.get("partition-id")
        if not (master and node and partition):
            return
        try:
            import ssl
            from urllib.parse import urlencode
            from urllib.request import Request, urlopen
            context = None
            if master.startswith("https"):
                context = ssl.create_default_context()
                certificate = self.__config.get("partition-cert")
                if certificate:
                    context.load_cert_chain(certificate, self.__config.get("partition-key"))
            data = urlencode({
                "computer_id": node,
                "computer_partition_id": partition,
                "message": message,
            }).encode()
            urlopen(Request(master.rstrip("/") + "/softwareInstanceBang", data=data),
                    timeout=20, context=context).close()
        except Exception as error:
            self.logger.warning("the bang did not reach the Master: %s", error)

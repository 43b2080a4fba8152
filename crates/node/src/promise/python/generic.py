"""Stand-in for slapos.grid.promise.generic: the base class of promise plugins.

A promise logs what it senses; whether it failed is read back from its log, so the log is its state.
"""
import io
import logging
import os
import random
import re
import time
from abc import ABCMeta, abstractmethod
from datetime import datetime, timedelta

PROMISE_RESULT_FOLDER_NAME = ".slapgrid/promise/result"
PROMISE_LOG_FOLDER_NAME = ".slapgrid/promise/log"
PROMISE_PARAMETER_NAME = "extra_config_dict"

MESSAGE_MAX = 5000
LOG_TAIL_BYTES = 256 * 1024
ERROR_LEVEL = "CRITICAL", "ERROR"

LINE = re.compile(
    r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) - (\w+) - (\d+-\d{3}) - (.*)$")


class BaseResult(object):
    def __init__(self, problem=False, message=None, date=None):
        if message is not None and len(message) > MESSAGE_MAX:
            message = "..." + message[-MESSAGE_MAX:]
        self.__problem = problem
        self.__message = message
        self.__date = datetime.utcnow() if date is None else date

    @staticmethod
    def type():
        return "Base Result"

    def hasFailed(self):
        return self.__problem

    @property
    def message(self):
        return self.__message

    @property
    def date(self):
        return self.__date


class TestResult(BaseResult):
    @staticmethod
    def type():
        return "Test Result"


class AnomalyResult(BaseResult):
    @staticmethod
    def type():
        return "Anomaly Result"


class EmptyResult(BaseResult):
    @staticmethod
    def type():
        return "Empty Result"


class PromiseQueueResult(object):
    def __init__(self, path=None, name=None, title=None, item=None, execution_time=0):
        self.path = path
        self.name = name
        self.title = title
        self.item = EmptyResult() if item is None else item
        self.execution_time = execution_time


def _truth(value):
    return str(value).strip().lower() in ("true", "yes", "on", "1")


class GenericPromise(metaclass=ABCMeta):
    def __init__(self, config):
        self.__config = config
        self.__log_folder = config.pop("log-folder", None)
        self.__partition_folder = config.pop("partition-folder", None)
        self.__debug = config.pop("debug", True)
        self.__name = config.pop("name", None)
        self.__path = config.pop("path", None)
        self.__queue = config.pop("queue", None)
        for what, value in (("queue", self.__queue), ("name", self.__name),
                            ("path", self.__path),
                            ("partition-folder", self.__partition_folder)):
            if value is None:
                raise ValueError("the configuration of a promise lacks %r" % what)
        self.__title = os.path.splitext(self.__name)[0]
        self.setPeriodicity(config.pop("periodicity", 2))
        bang = config.pop("bang-on-failure", None)
        self.__may_bang = _truth(bang) if bang else True
        self.__is_tested = True
        self.__is_anomaly_detected = True
        self.__id = "%s-%s" % (int(time.time()), random.randint(100, 999))
        self.__log_file = None
        self.__buffer = None
        self.__configure_logger()

    def __configure_logger(self):
        self.logger = logging.getLogger(self.__name)
        for handler in list(self.logger.handlers):
            handler.close()
            self.logger.removeHandler(handler)
        self.logger.setLevel(logging.DEBUG if self.__debug else logging.INFO)
        if self.__log_folder is None:
            self.__buffer = io.StringIO()
            handler = logging.StreamHandler(self.__buffer)
        else:
            os.makedirs(self.__log_folder, exist_ok=True)
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

    def allowBang(self, allow=True):
        self.__may_bang = allow

    @abstractmethod
    def sense(self):
        """Looks at the instance and logs what it finds."""

    def test(self):
        return self._test()

    def anomaly(self):
        return self._anomaly()

    def __log(self):
        """The end of the log."""
        if self.__log_file is None:
            return self.__buffer.getvalue()
        if not os.path.exists(self.__log_file):
            return ""
        with open(self.__log_file, "rb") as f:
            f.seek(max(0, os.path.getsize(self.__log_file) - LOG_TAIL_BYTES))
            return f.read().decode("utf-8", "replace")

    def getLastPromiseResultList(self, latest_minute=0, result_count=1, only_failure=False):
        """What the last executions logged, the latest first: a list of lines for each."""
        oldest = ""
        if latest_minute > 0:
            oldest = (datetime.now() - timedelta(minutes=latest_minute)).strftime(
                "%Y-%m-%d %H:%M:%S")
        # [id, [[date, level, message]]]
        found = []
        for line in self.__log().split("\n"):
            match = LINE.match(line)
            if match is None:
                # Goes on from the line before; at the beginning of a cut log it belongs to nothing.
                if line and found:
                    found[-1][1][-1][2] += "\n" + line
                continue
            date, level, ident, message = match.groups()
            if not found or found[-1][0] != ident:
                found.append([ident, []])
            found[-1][1].append([date, level, message])
        found.reverse()
        result = []
        for _, lines in found[:result_count]:
            recent = [line for line in lines if line[0] > oldest]
            wanted = [
                {
                    "date": datetime.strptime(date, "%Y-%m-%d %H:%M:%S"),
                    "status": level,
                    "message": message.strip(),
                }
                for date, level, message in recent
                if level in ERROR_LEVEL or not only_failure]
            if wanted:
                result.append(wanted)
            if len(recent) < len(lines):
                break
        return result

    def __judge(self, kind, result_count, failure_amount, latest_minute):
        executions = self.getLastPromiseResultList(latest_minute, result_count)
        if not executions:
            return kind(problem=False, message="No result found!")
        message = "\n".join(line["message"] for line in executions[0]).strip()
        failed = [
            any(line["status"] in ERROR_LEVEL for line in lines) for lines in executions]
        failures = max(1, min(sum(failed), failure_amount))
        return kind(problem=failed[0] and failures == failure_amount, message=message)

    def _test(self, result_count=1, failure_amount=1, latest_minute=0):
        return self.__judge(TestResult, result_count, failure_amount, latest_minute)

    def _anomaly(self, result_count=1, failure_amount=1, latest_minute=0):
        return self.__judge(AnomalyResult, result_count, failure_amount, latest_minute)

    def __send(self, item):
        self.__queue.put_nowait(PromiseQueueResult(
            path=self.__path, name=self.__name, title=self.__title, item=item))

    def __bang(self, message):
        """What the node shall tell the Master, if anything."""
        if not self.__may_bang:
            return None
        if not all(key in self.__config for key in ("master-url", "computer-id", "partition-id")):
            return None
        self.logger.info("Bang with message %r." % message)
        return message

    def run(self, check_anomaly=False, can_bang=True):
        kind = AnomalyResult if check_anomaly else TestResult
        if not self.__is_tested and not self.__is_anomaly_detected:
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
        try:
            result = self.anomaly() if check_anomaly else self.test()
            if result is None:
                raise ValueError("Promise %s method returned 'None'" % (
                    "anomaly" if check_anomaly else "test"))
        except Exception as error:
            result = kind(problem=True, message=str(error))
        if (check_anomaly and can_bang
                and isinstance(result, AnomalyResult) and result.hasFailed()):
            self.__bang("Promise %s is failing" % self.__title)
        self.__send(result)

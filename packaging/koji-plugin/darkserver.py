"""Koji hub plugin: tells darkserver's indexer which builds completed, moved, were promoted, signed or deleted.

Callbacks collect the builds of a request. After the commit, each build is written to a spool directory, and the hub
goes on: a thread of the process tells the indexer and removes what it accepted. Nothing here raises into the hub.
A request waits for the spool alone, and at most for `timeout` seconds. `darkserver-koji-flush` tells what was left.

Works with Python 3.6 or newer and needs nothing but Koji.
"""
import collections
import configparser
import itertools
import json
import logging
import os
import queue
import re
import socket
import ssl
import stat
import threading
import time
from urllib.parse import urlsplit

from koji.context import context
from koji.plugin import callback, ignore_error

CONFIG_FILE = '/etc/koji-hub/plugins/darkserver.conf'
DEFAULT_SPOOL = '/var/spool/darkserver-koji'
LOG = logging.getLogger('koji.plugin.darkserver')

# States of a build in Koji.
COMPLETE, DELETED = 1, 2

# Seconds for one request to the indexer, without the name's resolution; none of the hub's requests waits for it.
REQUEST_TIMEOUT = 5
# Seconds after which another process may tell an entry that a process began to tell.
CLAIM_TTL = 60
# Seconds between attempts to tell builds that are in memory alone; doubled after each failure up to the maximum.
MEMORY_INTERVAL, MAX_MEMORY_INTERVAL = 5, 300
# Builds in memory alone, and batches that wait for the spool: while the spool's disk is full or hangs.
MAX_IN_MEMORY = 1000
# Entries of the spool that a process tells after its own builds.
MAX_ENTRIES_PER_BATCH = 100
# Bytes of an answer that are read.
MAX_ANSWER = 4096


class ConfigurationError(Exception):
    """The configuration cannot be used; the text names the option."""


class SpoolError(Exception):
    """An entry was not written; the text is the reason."""


class Settings:
    """The options of the section `darkserver`. Without a file, everything has its default, and nothing is told."""

    def __init__(self, path, is_lenient=False):
        """Reads the file. Raises ConfigurationError, unless it is lenient: then `error` has it, and `url` is empty."""
        self.url = self.token_file = self.instance = self.ca = ''
        self.spool, self.max_spool = DEFAULT_SPOOL, 10000
        self.timeout, self.verify = 0.1, True
        self.error = self._tls = None
        try:
            self._read(path)
        except ConfigurationError as error:
            if not is_lenient:
                raise
            self.error, self.url = error, ''

    def _read(self, path):
        parser = configparser.ConfigParser(interpolation=None)
        try:
            with open(path, encoding='utf-8') as lines:
                parser.read_file(lines)
            if not parser.has_section('darkserver'):
                raise ConfigurationError('%s: expected the section [darkserver], found none' % path)
            options = parser['darkserver']
            # First, so that builds are spooled there even if another option is wrong.
            spool = options.get('spool', self.spool).strip()
            if not os.path.isabs(spool):
                raise ConfigurationError('%s: spool: expected an absolute path, found %r' % (path, spool))
            self.spool = spool
            max_spool = options.getint('max_spool', self.max_spool)
            if max_spool < 1:
                raise ConfigurationError('%s: max_spool: expected 1 or more, found %s' % (path, max_spool))
            self.max_spool = max_spool
            timeout = options.getfloat('timeout', self.timeout)
            if not 0 <= timeout <= 60:
                raise ConfigurationError('%s: timeout: expected 0 to 60 seconds, found %s' % (path, timeout))
            self.timeout = timeout
            self.url = options.get('url', '').strip().rstrip('/')
            self.token_file = options.get('token_file', '').strip()
            self.instance = options.get('instance', '').strip()
            self.ca = options.get('ca', '').strip()
            self.verify = options.getboolean('verify', self.verify)
        except (OSError, ValueError, configparser.Error) as error:
            raise ConfigurationError('%s: %s' % (path, error)) from error
        self._parse_url(path)

    def _parse_url(self, path):
        try:
            parts = urlsplit(self.url)
            self.is_tls = parts.scheme == 'https'
            self.host, self.port = parts.hostname, parts.port or (443 if self.is_tls else 80)
            self.path, self.authority = parts.path + '/hooks/koji', parts.netloc
            is_usable = parts.scheme in ('http', 'https') and self.host and not (
                parts.username or parts.query or parts.fragment)
            if not is_usable or re.search(r'[^!-~]', self.url):
                raise ValueError(self.url)
        except ValueError as error:
            raise ConfigurationError(
                '%s: url: expected https://HOST[:PORT][/PATH], found %r' % (path, self.url)) from error

    def token(self):
        """Returns the bearer token: the first line of its file with text and without `#`. Raises ConfigurationError."""
        if not self.token_file:
            raise ConfigurationError('token_file: expected a path, found none')
        try:
            with open(self.token_file, encoding='utf-8') as lines:
                token = next((line.strip() for line in lines if line.strip() and not line.startswith('#')), '')
        except (OSError, ValueError) as error:
            raise ConfigurationError('token_file: %s' % error) from error
        if not token or re.search(r'[^!-~]', token):
            raise ConfigurationError('%s: expected a token of printable characters' % self.token_file)
        return token

    def tls(self):
        """Returns the context of TLS connections. It reads the certificates once. Raises OSError."""
        if self._tls is None:
            tls = ssl.create_default_context(cafile=self.ca or None)
            if not self.verify:
                tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
            self._tls = tls
        return self._tls


# --- the spool: a file per build ------------------------------------------------------------------------------------

class Spool:
    """A directory with one file per build: `ID.json`, or `ID.json.telling.UNIQUE` while a process tells it.

    A build that is added again replaces its file. A process claims a file by renaming it, so an event that happens
    meanwhile makes a new one. The name alone states the build: a file that a power cut left empty loses nothing.
    Refused builds go to the subdirectory `refused`.
    """

    PENDING = re.compile(r'^([0-9]{1,18})\.json$')
    CLAIMED = re.compile(r'^([0-9]{1,18})\.json\.telling\..+$')
    _unique = itertools.count()

    def __init__(self, directory, max_entries):
        self.directory = directory
        self.max_entries = max_entries

    def add(self, build, details):
        """Writes the entry of a build, complete or not at all. Raises SpoolError."""
        temporary = self._path('.%d.%s' % (build, self._suffix()))
        try:
            self._create_directory(self.directory)
            name = '%d.json' % build
            count = self.count()
            if count >= self.max_entries and not os.path.exists(self._path(name)):
                raise SpoolError('%s: expected fewer than %d entries, found %d' % (
                    self.directory, self.max_entries, count))
            try:
                with open(temporary, 'x', encoding='utf-8') as file:
                    json.dump(details, file)
                os.rename(temporary, self._path(name))
            except Exception:
                self._remove(temporary)
                raise
        except (OSError, ValueError) as error:
            raise SpoolError('cannot spool: %s' % error) from error

    def sync(self, builds):
        """Writes the entries of these builds and the directory to the disk, as far as they are still there."""
        for path in [self._path('%d.json' % build) for build in builds] + [self.directory]:
            try:
                file = os.open(path, os.O_RDONLY)
            except OSError:
                continue
            try:
                os.fsync(file)
            except OSError as error:
                LOG.warning('%s: cannot be written to the disk: %s', path, error)
            finally:
                os.close(file)

    def builds(self):
        """Returns the ids of builds that can be claimed, those that waited longest first. Raises OSError."""
        found, now = [], time.time()
        for name in os.listdir(self.directory):
            pending, claimed = self.PENDING.match(name), self.CLAIMED.match(name)
            try:
                status = os.lstat(self._path(name))
                if pending and stat.S_ISREG(status.st_mode):
                    found.append((status.st_mtime, int(pending.group(1))))
                elif claimed and now - status.st_mtime > CLAIM_TTL:
                    # Its process has ended, or hangs.
                    self._make_pending(self._path(name), self._path(claimed.group(1) + '.json'))
                    found.append((status.st_mtime, int(claimed.group(1))))
                elif name.startswith('.') and stat.S_ISREG(status.st_mode) and now - status.st_mtime > 3600 \
                        and name.count('.') > 2:
                    self._remove(self._path(name))
            except FileNotFoundError:
                continue
        return [build for _, build in sorted(set(found))]

    def count(self):
        """Returns the number of entries, with those that a process tells now. Raises OSError."""
        return sum(1 for name in os.listdir(self.directory) if self.PENDING.match(name) or self.CLAIMED.match(name))

    def claim(self, build):
        """Claims the entry of a build. Returns its path and details, or None if another process has it."""
        pending = self._path('%d.json' % build)
        claimed = '%s.telling.%s' % (pending, self._suffix())
        try:
            # Its age counts from here. It also goes behind the others if it cannot be told.
            os.utime(pending)
            os.rename(pending, claimed)
            with open(claimed, encoding='utf-8') as file:
                details = json.loads(file.read(MAX_ANSWER))
        except FileNotFoundError:
            return None
        except ValueError:
            details = {}
        return claimed, details if isinstance(details, dict) else {}

    def remove(self, claimed):
        """Removes a claimed entry."""
        self._remove(claimed)

    def release(self, claimed):
        """Makes a claimed entry pending again. A newer event of the same build takes precedence."""
        self._make_pending(claimed, re.sub(r'\.telling\..*$', '', claimed))

    def refuse(self, claimed):
        """Moves a claimed entry to the refused ones. The oldest of them is removed if there are too many."""
        directory = self._path('refused')
        self._create_directory(directory)
        os.rename(claimed, os.path.join(directory, re.sub(r'\.telling\..*$', '', os.path.basename(claimed))))
        paths = [os.path.join(directory, name) for name in os.listdir(directory)]
        if len(paths) > self.max_entries:
            self._remove(min(paths, key=os.path.getmtime))

    def accept_refused(self):
        """Makes the refused entries pending again. Returns their number. Raises OSError."""
        directory = self._path('refused')
        names = [name for name in os.listdir(directory) if self.PENDING.match(name)] if os.path.isdir(directory) else []
        for name in names:
            self._make_pending(os.path.join(directory, name), self._path(name))
        return len(names)

    def _make_pending(self, path, pending):
        try:
            os.link(path, pending)
        except FileExistsError:
            pass
        except FileNotFoundError:
            return
        except OSError:
            # A file system without links.
            if not os.path.exists(pending):
                os.rename(path, pending)
                return
        self._remove(path)

    def _path(self, name):
        return os.path.join(self.directory, name)

    def _suffix(self):
        return '%s.%d.%d' % (socket.gethostname(), os.getpid(), next(self._unique))

    @staticmethod
    def _create_directory(path):
        if not os.path.isdir(path):
            try:
                os.mkdir(path, 0o750)
            except FileExistsError:
                pass

    @staticmethod
    def _remove(path):
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass


# --- the indexer ----------------------------------------------------------------------------------------------------

TOLD, REFUSED, UNAVAILABLE = 'told', 'refused', 'unavailable'

# Statuses of 4xx that do not speak of the build: a wrong token or address, time limits, rate limits.
NOT_OF_THE_BUILD = (401, 403, 404, 405, 407, 408, 421, 425, 429)


def tell(settings, build, details):
    """Tells the indexer of a build. Returns TOLD, REFUSED or UNAVAILABLE, and the reason. Never raises."""
    body = {'build': build}
    for name in ('instance', 'event', 'time'):
        if name in details:
            body[name] = details[name]
    if 'instance' not in body and settings.instance:
        body['instance'] = settings.instance
    try:
        if settings.error is not None:
            raise settings.error
        status, text = post(settings, settings.token(), json.dumps(body).encode('utf-8'))
    except (OSError, ValueError, ConfigurationError) as error:
        return UNAVAILABLE, '%s: %s' % (settings.url or 'darkserver', error or type(error).__name__)
    if status == 202:
        return TOLD, ''
    reason = '%s: expected the status 202, found %d %s' % (settings.url, status, text)
    if 400 <= status < 500 and status not in NOT_OF_THE_BUILD:
        return REFUSED, reason
    return UNAVAILABLE, reason


def post(settings, token, body):
    """Posts a body. Returns the status and the beginning of the answer's body. Raises OSError or ValueError.

    Takes at most REQUEST_TIMEOUT, besides the resolution of the name.
    """
    addresses = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
    deadline = time.monotonic() + REQUEST_TIMEOUT
    head = '\r\n'.join((
        'POST %s HTTP/1.1' % settings.path,
        'Host: %s' % settings.authority,
        'Authorization: Bearer %s' % token,
        'Content-Type: application/json',
        'Content-Length: %d' % len(body),
        'User-Agent: darkserver-koji-plugin',
        'Connection: close', '', '')).encode('ascii')
    with connect(addresses, deadline) as connection:
        if settings.is_tls:
            set_timeout(connection, deadline)
            with settings.tls().wrap_socket(connection, server_hostname=settings.host) as secured:
                return exchange(secured, head + body, deadline)
        return exchange(connection, head + body, deadline)


def connect(addresses, deadline):
    """Connects to the first address that answers; each has its share of the time. Raises OSError."""
    failure = OSError('expected an address, found none')
    for index, (family, kind, protocol, _, address) in enumerate(addresses):
        connection = None
        try:
            connection = socket.socket(family, kind, protocol)
            connection.settimeout(max(0.01, (deadline - time.monotonic()) / (len(addresses) - index)))
            connection.connect(address)
            return connection
        except OSError as error:
            failure = error
            if connection is not None:
                connection.close()
    raise failure


def exchange(connection, request, deadline):
    """Sends a request and reads the answer's status and the beginning of its body. Raises OSError or ValueError."""
    set_timeout(connection, deadline)
    connection.sendall(request)
    answer = b''
    try:
        while len(answer) < MAX_ANSWER:
            set_timeout(connection, deadline)
            part = connection.recv(MAX_ANSWER)
            if not part:
                break
            answer += part
    except OSError:
        # The status is enough. The rest is for the log.
        if b'\r\n' not in answer:
            raise
    status = re.match(rb'HTTP/1\.[01] ([0-9]{3})[ \r]', answer)
    if not status:
        raise ValueError('expected an answer of HTTP/1.1, found %r' % answer[:40])
    text = answer.partition(b'\r\n\r\n')[2][:200].decode('utf-8', 'replace')
    return int(status.group(1)), ' '.join(text.split())


def set_timeout(connection, deadline):
    """Lets the next operation of a socket end at the deadline. Raises OSError if it has passed."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise socket.timeout('timed out')
    connection.settimeout(left)


def tell_spooled(settings, spool, first=(), limit=None):
    """Tells builds of the spool, `first` before the others, until one cannot be told.

    Returns how many were accepted and refused, and the reason why it stopped, or None. Raises OSError.
    """
    told = refused = 0
    seen = set()
    for build in itertools.chain(first, itertools.islice(spool.builds(), limit)):
        if build in seen:
            continue
        seen.add(build)
        claim = spool.claim(build)
        if claim is None:
            continue
        claimed, details = claim
        outcome, reason = tell(settings, build, details)
        if outcome == TOLD:
            spool.remove(claimed)
            told += 1
        elif outcome == REFUSED:
            LOG.error('darkserver refused build %d: %s', build, reason)
            spool.refuse(claimed)
            refused += 1
        else:
            spool.release(claimed)
            return told, refused, reason
    return told, refused, None


# --- one process of the hub -----------------------------------------------------------------------------------------

class Worker:
    """Two daemon threads: one writes builds to the spool, the other tells them. The second may hang for long."""

    def __init__(self, settings):
        self.pid = os.getpid()
        self.settings = settings
        self.spool = Spool(settings.spool, settings.max_spool)
        self._batches = queue.Queue(MAX_IN_MEMORY)
        self._wake = threading.Event()
        self._spooled = collections.deque(maxlen=MAX_IN_MEMORY)
        self._unspooled = collections.deque()
        self._threads = {}
        self._lock = threading.Lock()

    def submit(self, events):
        """Spools builds, and returns when they are in the spool, or after the timeout."""
        done = threading.Event()
        deadline = time.monotonic() + self.settings.timeout
        entries = [(build, dict(details, instance=self.settings.instance) if self.settings.instance else details)
                   for build, details in events.items()]
        try:
            self._start('darkserver-spool', self._run_spool)
            self._start('darkserver-tell', self._run_tell)
        except RuntimeError as error:
            LOG.warning('darkserver: no thread can be started: %s', error)
            self._add(entries, deadline)
            return
        try:
            self._batches.put_nowait((entries, done))
        except queue.Full:
            LOG.error('darkserver: the spool hangs; not told: builds %s', sorted(events))
            return
        if not done.wait(max(0, deadline - time.monotonic())):
            LOG.warning('darkserver: %d builds are not in the spool after %s s; this goes on in the background',
                        len(events), self.settings.timeout)

    def _start(self, name, target):
        thread = self._threads.get(name)
        if thread is not None and thread.is_alive():
            return
        with self._lock:
            thread = self._threads.get(name)
            if thread is None or not thread.is_alive():
                thread = threading.Thread(target=target, name=name, daemon=True)
                thread.start()
                self._threads[name] = thread

    def _run_spool(self):
        unsynced = collections.deque()
        while True:
            try:
                entries, done = self._batches.get(block=not unsynced)
            except queue.Empty:
                self.spool.sync([unsynced.popleft()])
                continue
            try:
                self._add(entries)
            except Exception:
                LOG.exception('darkserver: unexpected failure of the spool')
            # A killed process loses nothing from here on. A power cut does until the entries are synchronized.
            done.set()
            self._wake.set()
            unsynced.extend(build for build, _ in entries if build not in unsynced)

    def _add(self, entries, deadline=None):
        """Writes entries to the spool. Those that it does not take stay in memory; the log has the first reason."""
        failed = []
        reason = None
        for build, details in entries:
            try:
                if deadline is not None and time.monotonic() > deadline:
                    raise SpoolError('no time is left')
                self.spool.add(build, details)
                self._spooled.append(build)
            except SpoolError as error:
                reason = reason or error
                failed.append((build, details))
        if failed:
            LOG.error('darkserver: %d builds are in memory alone: %s', len(failed), reason)
        self._unspooled.extend(failed)
        while len(self._unspooled) > MAX_IN_MEMORY:
            lost = take(self._unspooled)
            LOG.error('darkserver: not told, too many builds are in memory: build %s', lost and lost[0])

    def _run_tell(self):
        interval = MEMORY_INTERVAL
        while True:
            self._wake.wait(interval if self._unspooled else None)
            self._wake.clear()
            try:
                self._tell_unspooled()
                interval = min(2 * interval, MAX_MEMORY_INTERVAL) if self._unspooled else MEMORY_INTERVAL
                self._tell_spooled()
            except Exception:
                LOG.exception('darkserver: unexpected failure')

    def _tell_unspooled(self):
        """Tells the builds that the spool did not take. If that fails, offers them to the spool again."""
        waiting = []
        while True:
            entry = take(self._unspooled)
            if entry is None:
                return
            outcome, reason = tell(self.settings, *entry)
            if outcome == REFUSED:
                LOG.error('darkserver refused build %d: %s', entry[0], reason)
            elif outcome == UNAVAILABLE:
                break
        while entry is not None:
            waiting.append(entry)
            entry = take(self._unspooled)
        LOG.warning('darkserver: %d builds in memory cannot be told: %s', len(waiting), reason)
        self._add(waiting)

    def _tell_spooled(self):
        first = []
        while self._spooled:
            first.append(self._spooled.popleft())
        try:
            told, _, reason = tell_spooled(self.settings, self.spool, first, MAX_ENTRIES_PER_BATCH)
        except OSError as error:
            LOG.error('darkserver: the spool cannot be read: %s', error)
            return
        if reason is not None:
            LOG.warning('darkserver: %d builds told, the others stay in %s: %s', told, self.spool.directory, reason)


def take(entries):
    """Returns the first of the entries, or None. Another thread may take them at the same time."""
    try:
        return entries.popleft()
    except IndexError:
        return None


_worker = None


def worker():
    """Returns the worker of this process. A process that was forked makes its own. Never raises for a bad file."""
    global _worker
    current = _worker
    if current is None or current.pid != os.getpid():
        settings = Settings(CONFIG_FILE, is_lenient=True)
        if settings.error is not None:
            LOG.error('darkserver: builds go to %s and are not told: %s', settings.spool, settings.error)
        _worker = current = Worker(settings)
    return current


# --- callbacks ------------------------------------------------------------------------------------------------------

def note(build, event):
    """Notes a build of this request. A deletion takes precedence over other events of the same request."""
    try:
        number = int(build.get('id') or build['build_id'])
        events = getattr(context, 'darkserver_events', None)
        if events is None:
            events = context.darkserver_events = {}
        if event == 'deleted' or number not in events:
            events[number] = event
    except Exception:
        LOG.exception('darkserver: unexpected build: %.200r', build)


@ignore_error
@callback('postBuildStateChange')
def note_change(cbtype, *args, **kws):
    """Notes a build whose state or volume changed, if it is complete or was."""
    build, new = kws.get('info') or {}, kws.get('new')
    if kws.get('attribute') != 'state':
        if build.get('state', COMPLETE) == COMPLETE:
            note(build, 'moved')
    elif new == COMPLETE:
        note(build, 'complete')
    elif new == DELETED:
        note(build, 'deleted')
    elif kws.get('old') == COMPLETE:
        note(build, 'reset')


@ignore_error
@callback('postBuildPromote')
def note_promotion(cbtype, *args, **kws):
    """Notes a draft build that became a build."""
    note(kws.get('build'), 'promoted')


@ignore_error
@callback('postImport')
def note_import(cbtype, *args, **kws):
    """Notes a complete build to which a package is added, as `koji import` does."""
    build = kws.get('build') or {}
    if kws.get('type') == 'rpm' and build.get('state', COMPLETE) == COMPLETE:
        note(build, 'imported')


@ignore_error
@callback('postRPMSign')
def note_signature(cbtype, *args, **kws):
    """Notes a build of which a package was signed. An import signs with the empty key."""
    if kws.get('sigkey'):
        note(kws.get('build'), 'signed')


@ignore_error
@callback('postCommit')
def submit_noted(cbtype, *args, **kws):
    """Spools the builds of this request, which the database has now."""
    try:
        events = getattr(context, 'darkserver_events', None)
        if events:
            context.darkserver_events = None
            now = int(time.time())
            worker().submit({build: {'event': event, 'time': now} for build, event in events.items()})
    except Exception:
        LOG.exception('darkserver: unexpected failure; not told: %.200r', events)

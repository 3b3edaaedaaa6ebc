"""The dashboard "Ingest health": whether the numbers can be believed, and the daemon itself."""

from __future__ import annotations

from typing import Final

from dashboards import house
from dashboards import queries as q
from dashboards.house import queries
from dashboards.panels import (
    BYTES,
    BYTES_PER_SECOND,
    CALM,
    COUNT,
    CRITICAL,
    GOOD,
    NEUTRAL,
    PER_SECOND,
    RATIO,
    SECONDS,
    STATE,
    WARNING,
    Dashboard,
    Panel,
    Query,
    Row,
    Step,
    Style,
    heatmap,
    stat,
    state_timeline,
    table,
    timeseries,
)

UID: Final = "pfmemd-ingest"
STALLED: Final = "PfmemdIngestStalled"
REFUSED: Final = "PfmemdBatchesRefused"

_SOURCE: Final = "{{source}}"
_CONNECTED: Final = {0.0: ("away", NEUTRAL), 1.0: ("connected", GOOD)}
_BLOCKED: Final = {0.0: ("taken", GOOD), 1.0: ("no room", CRITICAL)}
_PHASE: Final = {0.0: ("no", NEUTRAL), 1.0: ("now", CALM)}
_WORKS: Final = {0.0: ("failed", CRITICAL), 1.0: ("works", GOOD)}


def dashboard() -> Dashboard:
    """The dashboard as it is built into JSON."""
    return Dashboard(
        uid=UID,
        title="Ingest health",
        description=(
            "Whether events arrive, in order and whole, and how the daemon fares. When this"
            " dashboard is not well, the others show the past."
        ),
        variables=(house.SOURCES,),
        annotations=(house.PHASES, house.ALERTS),
        rows=(_now(), _flow(), _order(), _storage(), _daemon()),
    )


def _now() -> Row:
    return Row(
        "Now",
        (
            stat(
                "Events applied",
                "Events applied per second. At 0 nothing arrives and every other dashboard stands"
                " still.",
                PER_SECOND,
                Query(q.EVENTS_RATE, _SOURCE),
                runbook=STALLED,
            ),
            stat(
                "Last batch",
                "How long ago the last batch of the source was applied.",
                SECONDS,
                Query(q.LAG, _SOURCE),
                steps=[Step(None, GOOD), Step(30, WARNING), Step(300, NEUTRAL)],
                runbook=STALLED,
            ),
            stat(
                "Epochs",
                "Lives of the source that were begun: each starts its machines anew.",
                COUNT,
                Query(q.EPOCHS, _SOURCE),
            ),
            stat("Sources", "Sources that the daemon holds machines for.", COUNT, Query(q.SOURCES)),
            stat(
                "Sources allowed",
                "The most sources that the daemon takes.",
                COUNT,
                Query(q.SOURCES_LIMIT),
            ),
            stat(
                "Memory",
                "Resident memory of the daemon's process.",
                BYTES,
                Query(q.DAEMON_MEMORY, "{{instance}}"),
            ),
        ),
    )


def _flow() -> Row:
    return Row("Flow", (*_throughput(), *_batch_times(), *_place_in_the_trace()))


def _throughput() -> tuple[Panel, ...]:
    """What comes in, and from whom."""
    return (
        timeseries(
            "Events",
            "Events applied per second.",
            PER_SECOND,
            [Query(q.EVENTS_RATE, _SOURCE)],
            runbook=STALLED,
        ),
        timeseries(
            "Batches",
            "Batches applied per second.",
            PER_SECOND,
            [Query(q.BATCHES_RATE, _SOURCE)],
        ),
        timeseries(
            "Received",
            "Bytes of batches per second, accepted or not.",
            BYTES_PER_SECOND,
            [Query(q.BYTES_RATE, _SOURCE)],
        ),
        state_timeline(
            "Connected",
            "Whether a sender of the source is there.",
            STATE,
            [Query(q.CONNECTED, _SOURCE)],
            mapping=_CONNECTED,
            height=8,
        ),
    )


def _batch_times() -> tuple[Panel, ...]:
    """How long batches wait and take."""
    return (
        heatmap(
            "Time to apply a batch",
            "Batches per second by how long the models took for them.",
            SECONDS,
            Query(q.APPLY_TIMES, "{{le}}"),
        ),
        timeseries(
            "Time to apply a batch, by source",
            "What half of the batches and what all but one in a hundred stayed below.",
            SECONDS,
            queries(q.APPLY_TIME, _SOURCE),
            logarithmic=True,
        ),
        timeseries(
            "Age of batches",
            "From the admission of a batch until it is applied: waiting for others included."
            " What half and all but one in a hundred stayed below.",
            SECONDS,
            queries(q.AGE, _SOURCE),
            logarithmic=True,
        ),
    )


def _place_in_the_trace() -> tuple[Panel, ...]:
    """How far the trace has got."""
    return (
        timeseries(
            "Since the last batch",
            "How long ago the last batch was applied.",
            SECONDS,
            [Query(q.LAG, _SOURCE)],
            runbook=STALLED,
        ),
        timeseries(
            "Time of the trace",
            "Time of the last event applied, by the trace's own clock. Its slope is the speed"
            " of the replay.",
            SECONDS,
            [Query(q.TRACE_TIME, _SOURCE)],
            width=8,
        ),
        state_timeline(
            "Phase",
            "The phase of the scenario that the last MARK event named.",
            STATE,
            [Query(q.PHASES, "{{source}} {{phase}}")],
            mapping=_PHASE,
            width=8,
            height=8,
        ),
        timeseries(
            "Position",
            "Sequence number of the last batch applied, within the epoch.",
            COUNT,
            [Query(q.SEQUENCE, _SOURCE)],
            staircase=True,
            width=8,
        ),
    )


def _order() -> Row:
    return Row(
        "Order and refusals",
        (
            timeseries(
                "Duplicates and gaps",
                "Batches per second that had been applied before (skipped) or came before the one"
                " that was due (asked for again).",
                PER_SECOND,
                [
                    Query(q.DUPLICATES, "duplicate {{source}}"),
                    Query(q.GAPS, "gapped {{source}}"),
                ],
                runbook="PfmemdBatchesGapped",
            ),
            table(
                "Batches refused",
                "Batches of known sources that were refused whole, by reason.",
                COUNT,
                Query(q.REFUSED_BATCHES),
                columns=["source", "reason"],
                value="batches",
                width=6,
            ),
            table(
                "Messages refused",
                "Messages that could not be put down to a source, by reason.",
                COUNT,
                Query(q.REFUSED_MESSAGES),
                columns=["reason"],
                value="messages",
                width=6,
            ),
            table(
                "Connections refused",
                "Connections for senders that were turned away, by reason.",
                COUNT,
                Query(q.AWAY),
                columns=["reason"],
                value="connections",
                width=6,
            ),
            stat(
                "Connections",
                "Open connections at the port for senders.",
                COUNT,
                Query(q.CONNECTIONS, "open"),
                width=4,
                height=8,
            ),
            table(
                "Machines",
                "What the sources' headers say of their machines.",
                COUNT,
                Query(q.MACHINES),
                columns=["source", "cpus", "nodes", "numa", "gfp_flavour"],
                value="",
                width=8,
            ),
            table(
                "Marks",
                "MARK events by the phase that they name.",
                COUNT,
                Query(q.MARKS),
                columns=["source", "phase"],
                value="events",
                width=6,
            ),
        ),
    )


def _storage() -> Row:
    return Row("Journal and snapshots, with --data-dir", (*_journal(), *_snapshots()))


def _journal() -> tuple[Panel, ...]:
    """Whether batches are kept, how fast, and how much room is left."""
    return (
        state_timeline(
            "Intake",
            "Whether batches are taken: without room for the journal they are not.",
            STATE,
            [Query(q.JOURNAL_BLOCKED, "intake")],
            mapping=_BLOCKED,
        ),
        timeseries(
            "Room on the disk",
            "Free bytes of the file system that holds the data folder, and what the journal and"
            " the newest snapshot take of it.",
            BYTES,
            [
                Query(q.DISK_FREE, "free"),
                Query(q.JOURNAL_BYTES, "journal"),
                Query(q.SNAPSHOT_BYTES, "snapshot"),
            ],
            runbook="PfmemdDiskFilling",
            height=6,
        ),
        timeseries(
            "Time until the disk is sure",
            "How long the disk took to make a group of batches safe: what half and all but one"
            " in a hundred stayed below.",
            SECONDS,
            queries(q.JOURNAL_SYNC, "sync"),
            logarithmic=True,
            runbook="PfmemdJournalTrouble",
        ),
        timeseries(
            "Written",
            "Bytes of the journal per second.",
            BYTES_PER_SECOND,
            [Query(q.JOURNAL_WRITTEN, "journal")],
        ),
        timeseries(
            "Groups of batches",
            "Groups written in one go, per second, and those that found no room.",
            PER_SECOND,
            queries(q.JOURNAL_GROUPS, "groups"),
            runbook="PfmemdJournalTrouble",
        ),
    )


def _snapshots() -> tuple[Panel, ...]:
    """Snapshots, and what the last start found."""
    return (
        timeseries(
            "Snapshots",
            "Taken and failed since the start, and those that the start found of no use.",
            COUNT,
            queries(q.SNAPSHOTS, "snapshots"),
            staircase=True,
            runbook="PfmemdJournalTrouble",
        ),
        stat(
            "Segments",
            "Files of the journal.",
            COUNT,
            Query(q.JOURNAL_SEGMENTS, "files"),
        ),
        stat(
            "Newest snapshot",
            "How long ago it was taken; a start reads the journal from there on.",
            SECONDS,
            Query(q.SNAPSHOT_AGE, "ago"),
        ),
        stat(
            "It took",
            "From the beginning of the newest snapshot until it was safe.",
            SECONDS,
            Query(q.SNAPSHOT_SECONDS, "snapshot"),
        ),
        stat(
            "Torn tail",
            "Bytes of an unfinished write that this start cut off: a power cut or a kill leaves"
            " some.",
            BYTES,
            Query(q.JOURNAL_TORN, "cut off"),
        ),
        stat(
            "The last start took",
            "Time to read the snapshot and the journal after it.",
            SECONDS,
            Query(q.RECOVERY_SECONDS, "recovery"),
        ),
        stat(
            "Batches read again",
            "Batches of the journal that the last start applied again.",
            COUNT,
            Query(q.RECOVERY_BATCHES, "recovery"),
        ),
    )


def _daemon() -> Row:
    return Row("The daemon", (*_process(), *_exposition(), *_limits()))


def _process() -> tuple[Panel, ...]:
    """What the daemon itself takes."""
    return (
        timeseries(
            "Processor",
            "Share of one processor that the daemon takes.",
            RATIO,
            [Query(q.DAEMON_CPU, "{{instance}}")],
        ),
        timeseries(
            "Memory",
            "Resident memory of the daemon and its workers, and where it stops itself.",
            BYTES,
            [Query(q.DAEMON_MEMORY, "{{instance}}"), Query(q.MEMORY_LIMIT, "limit")],
            styles=[Style("^limit$", color=CRITICAL, dashed=True)],
            runbook="PfmemdMemoryNearLimit",
        ),
        timeseries(
            "Live handles",
            "The most things that a source holds allocated, and how many it may.",
            COUNT,
            [Query(q.HANDLES_MOST, "most"), Query(q.HANDLES_LIMIT, "limit")],
            styles=[Style("^limit$", color=CRITICAL, dashed=True)],
        ),
        timeseries(
            "Scrapes",
            "How long Prometheus waited for /metrics, and how long each collector took.",
            SECONDS,
            [
                Query(q.SCRAPE_SECONDS, "scrape {{instance}}"),
                Query(q.COLLECTOR_SECONDS, "{{collector}}"),
            ],
            runbook="PfmemdCollectorFailed",
        ),
        timeseries(
            "Series",
            "Samples of one scrape.",
            COUNT,
            [Query(q.SCRAPE_SAMPLES, "{{instance}}")],
            height=6,
        ),
    )


def _limits() -> tuple[Panel, ...]:
    """How much the daemon lets itself be asked; what is beyond is refused and counted."""
    return (
        stat("Largest batch", "In bytes.", BYTES, Query(q.BATCH_LIMIT, "limit"), width=6),
        stat("Events of a batch", "The most.", COUNT, Query(q.EVENTS_LIMIT, "limit"), width=6),
        stat(
            "Batches on the way",
            "The most that a source may have sent without an acknowledgement.",
            COUNT,
            Query(q.CREDIT_LIMIT, "limit"),
            width=6,
        ),
        stat(
            "HTTP connections",
            "The most that are served at once.",
            COUNT,
            Query(q.HTTP_LIMIT, "limit"),
            width=6,
        ),
    )


def _exposition() -> tuple[Panel, ...]:
    """Collectors, refusals and what is folded or firing."""
    return (
        state_timeline(
            "Collectors",
            "Whether each part of the daemon gave its metrics.",
            STATE,
            [Query(q.COLLECTOR_SUCCESS, "{{collector}}")],
            mapping=_WORKS,
        ),
        timeseries(
            "Refused connections",
            "HTTP connections, per second, closed because every worker was busy, and requests"
            " without the password that is wanted.",
            PER_SECOND,
            [
                Query(q.HTTP_REFUSED, "busy"),
                Query(q.HTTP_UNAUTHORIZED, "without the password"),
            ],
            height=6,
        ),
        table(
            "Label values folded",
            "Values of a label beyond its bound, counted under other.",
            COUNT,
            Query(q.FOLDED),
            columns=["label"],
            value="values",
            height=6,
        ),
        table(
            "Builds",
            "What runs: version, Python, and whether the model is compiled.",
            COUNT,
            Query(q.BUILD),
            columns=["version", "python", "compiled"],
            value="",
            height=6,
        ),
        table(
            "Alerts firing",
            "The alerts of pfmemd that Prometheus says are firing.",
            COUNT,
            Query(q.ALERTS_NOW),
            columns=["alertname", "severity", "source", "variant", "node", "zone"],
            value="",
            height=6,
        ),
    )

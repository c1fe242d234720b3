"""Put a station together from its file. Whatever is wrong shows here, before the first frame."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from jetspect import __version__
from jetspect.device.monitor import DeviceMonitor
from jetspect.device.probe import probe
from jetspect.runtime.config import StationConfig
from jetspect.runtime.frames import LostFrame, Source, utc_now
from jetspect.runtime.judging import open_judge
from jetspect.runtime.parts import PartMerger
from jetspect.runtime.publishing.evidence import EvidenceStore
from jetspect.runtime.publishing.keeping import Keeper
from jetspect.runtime.publishing.message_base import StationAddress, model_info
from jetspect.runtime.publishing.messages import MetaMessage
from jetspect.runtime.publishing.mqtt import MqttPublisher
from jetspect.runtime.publishing.outbox import Outbox
from jetspect.runtime.publishing.topics import Topics
from jetspect.runtime.recording import Listener
from jetspect.runtime.slots.deploy import slots_of
from jetspect.runtime.slots.shadow import Shadow
from jetspect.runtime.slots.switching import SlotInspectors
from jetspect.runtime.sources import open_source
from jetspect.runtime.station import Parts, Station
from jetspect.runtime.triggering.settings import EncoderTrigger, MqttTrigger
from jetspect.runtime.triggering.source import TriggeredSource
from jetspect.runtime.triggering.ticks import read_count
from jetspect.runtime.triggering.unfinished import unfinished_parts
from jetspect.runtime.views import ViewInspectors

Acknowledged = Callable[[list[int]], None]


def build_station(
    config: StationConfig,
    *,
    on_result: Listener | None = None,
    source: Source | None = None,
    on_acknowledged: Acknowledged | None = None,
) -> Station:
    """Open every part of a station; those already open are closed again when one fails.

    Parameters
    ----------
    source
        In place of the cameras and the trigger of the file; the station closes it.
    on_acknowledged
        Called in the publisher's thread with the ``seq`` of results that the broker has taken.

    Raises
    ------
    JetspectError
        The bundle, engine, source, outbox, evidence folder or broker settings cannot be used; says which and why.
    """
    where = config.station
    address = StationAddress(**where.model_dump())
    topics = Topics(where.namespace, where.site, where.area, where.line, where.unit)
    with ExitStack() as opened:
        inspector, golden = _open_inspector(config)
        opened.enter_context(inspector)
        outbox = opened.enter_context(Outbox(_with_folder(config.outbox.path)))
        evidence = EvidenceStore(config.evidence) if config.evidence is not None else None
        # Before old results are forgotten: they may be of such a part.
        begun = _begun_parts(config, outbox, topics.result) if source is None else (PartMerger(), ())
        keeper = Keeper(outbox, evidence, keep_hours=config.outbox.keep_hours, max_mb=config.outbox.max_mb)
        keeper.tidy()
        device = probe().as_dict()

        def meta() -> MetaMessage:
            return MetaMessage(
                station=address,
                at=utc_now(),
                jetspect=__version__,
                model=model_info(inspector.model),
                classes=inspector.classes,
                tile_px=inspector.tile_px,
                device=device,
                golden=golden(),
                slots=inspector.info() if isinstance(inspector, SlotInspectors) else None,
            )

        broker = config.broker
        merger, owed = begun
        source = opened.enter_context(_open_cameras(config, owed) if source is None else source)
        trigger = None
        if isinstance(source, TriggeredSource) and isinstance(config.trigger, MqttTrigger):
            trigger = source.trigger
        publisher = None
        if broker is not None:
            publisher = MqttPublisher(broker, outbox, topics, meta, config.commands, trigger)
        monitor = opened.enter_context(DeviceMonitor().start())
        shadow = None
        if config.slots.shadow and publisher is not None:
            folder = slots_of(config)
            shadow = Shadow(folder, lambda slot: open_judge(config, folder.place(slot)), publisher.shadow)
            opened.enter_context(shadow)
        parts = Parts(source, inspector, outbox, publisher, evidence, address, topics.result, monitor)
        station = Station(
            parts,
            queue_size=config.queue.frames,
            policy=config.queue.policy,
            health_s=config.health_s,
            drain_s=config.drain_s,
            keeper=keeper,
            merger=merger,
            metrics=config.metrics,
            shadow=shadow,
            on_result=on_result,
        )
        if publisher is not None and on_acknowledged is not None:
            publisher.on_acknowledged = _both(publisher.on_acknowledged, on_acknowledged)
        opened.pop_all()  # from here on the station closes them
    return station


def _both(first: Acknowledged | None, second: Acknowledged) -> Acknowledged:
    def tell(seqs: list[int]) -> None:
        if first is not None:
            first(seqs)
        second(seqs)

    return tell


def _begun_parts(config: StationConfig, outbox: Outbox, topic: str) -> tuple[PartMerger, tuple[LostFrame, ...]]:
    """Return what is known of parts that were not complete at the last end, and what they lack."""
    if config.trigger is None:
        return PartMerger(), ()
    return unfinished_parts(outbox, topic, list(config.sources), config.trigger.shots)


def _open_inspector(config: StationConfig) -> tuple[ViewInspectors | SlotInspectors, Callable[[], str]]:
    """Open what judges frames, and what tells how its engine proved itself."""
    if config.bundle.path is not None:
        judge = open_judge(config, config.bundle.path)
        return judge.inspectors, lambda: str(judge.golden)
    folder = slots_of(config)
    slots = SlotInspectors(folder, config.slots, lambda slot: open_judge(config, folder.place(slot)))
    return slots, lambda: slots.golden


def _open_cameras(config: StationConfig, owed: tuple[LostFrame, ...]) -> Source:
    """Open the source, or every view."""
    trigger = config.trigger
    with ExitStack() as opened:
        cameras = {name: opened.enter_context(open_source(settings)) for name, settings in config.sources.items()}
        if isinstance(trigger, EncoderTrigger):
            read_count(trigger.count_file)
        opened.pop_all()
    return cameras[""] if trigger is None else TriggeredSource(cameras, trigger, owed)


def _with_folder(path: Path) -> Path:
    """Make the folder of a file that the station owns; where that fails, opening the file says why."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
    return path

"""Feature stores: plan, codec, shard, manifest, verify. numpy and zarr only; knows neither torch nor `viral`."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stores.append import new_images as new_images
    from stores.codecs import CODECS as CODECS
    from stores.codecs import Codec as Codec
    from stores.codecs import get_codec as get_codec
    from stores.combine import combine_stores as combine_stores
    from stores.create import create_store as create_store
    from stores.feature_store import FeatureStore as FeatureStore
    from stores.lock import Builder as Builder
    from stores.lock import build_lock as build_lock
    from stores.lock import evict as evict
    from stores.lock import join_build as join_build
    from stores.manifest import Manifest as Manifest
    from stores.manifest import load_manifest as load_manifest
    from stores.plan import Plan as Plan
    from stores.plan import Reject as Reject
    from stores.plan import load_plan as load_plan
    from stores.reader import open_store as open_store
    from stores.report import CosineStats as CosineStats
    from stores.report import ShardReport as ShardReport
    from stores.space import check_space as check_space
    from stores.spec import StoreSpec as StoreSpec
    from stores.verify import VerifyReport as VerifyReport
    from stores.verify import repair_store as repair_store
    from stores.verify import verify_store as verify_store
    from stores.write import finish_store as finish_store
    from stores.write import pending_shards as pending_shards
    from stores.write import write_shard as write_shard

_HOME = {
    "Builder": "lock",
    "CODECS": "codecs",
    "Codec": "codecs",
    "CosineStats": "report",
    "FeatureStore": "feature_store",
    "Manifest": "manifest",
    "Plan": "plan",
    "Reject": "plan",
    "ShardReport": "report",
    "StoreSpec": "spec",
    "VerifyReport": "verify",
    "build_lock": "lock",
    "combine_stores": "combine",
    "check_space": "space",
    "create_store": "create",
    "evict": "lock",
    "finish_store": "write",
    "get_codec": "codecs",
    "join_build": "lock",
    "load_manifest": "manifest",
    "load_plan": "plan",
    "new_images": "append",
    "open_store": "reader",
    "pending_shards": "write",
    "repair_store": "verify",
    "verify_store": "verify",
    "write_shard": "write",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module attribute can be anything
    # On demand: the command line imports `stores.errors`, and should not pay for numpy to do so.
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"stores.{_HOME[name]}"), name)

"""Feature stores: plan, codec, shard, manifest, verify. numpy and zarr only; knows neither torch nor `viral`."""

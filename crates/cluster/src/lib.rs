//! Who is there and who has which shard.

//! The traits of `wire` between processes, over gRPC.

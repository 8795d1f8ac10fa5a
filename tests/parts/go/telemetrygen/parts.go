//go:build parts

// Package parts pins the programs of others that Firn is tested with. It is never compiled: the
// tag keeps it out of every build, and its imports keep the programs in go.mod and go.sum.
package parts

import (
	_ "github.com/open-telemetry/opentelemetry-collector-contrib/cmd/telemetrygen"
)

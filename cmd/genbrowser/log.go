package main

import (
	"io"
	"log/slog"
)

type logging struct {
	LogFormat string     `help:"text or json." enum:"text,json" default:"text"`
	LogLevel  slog.Level `help:"debug, info, warn or error." default:"info"`
}

func (l *logging) logger(w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: l.LogLevel}
	if l.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

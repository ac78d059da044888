package main

import (
	"fmt"
	"strconv"
	"time"
)

// Config is everything that the environment decides.
type Config struct {
	Addr            string
	LogLevel        string
	ShutdownTimeout time.Duration
	Greeting        string
}

// LoadConfig reads a configuration by way of get, which is os.Getenv outside tests. An unset variable takes its
// default; a set one that makes no sense is an error that names it.
func LoadConfig(get func(string) string) (Config, error) {
	config := Config{Addr: ":8080", LogLevel: "info", ShutdownTimeout: 5 * time.Second, Greeting: get("GREETING")}

	if text := get("PORT"); text != "" {
		port, err := strconv.ParseUint(text, 10, 16)
		if err != nil || port == 0 {
			return config, fmt.Errorf("PORT=%q: want a number from 1 to 65535", text)
		}
		config.Addr = ":" + text
	}
	if text := get("LOG_LEVEL"); text != "" {
		switch text {
		case "debug", "info", "warn", "error":
			config.LogLevel = text
		default:
			return config, fmt.Errorf("LOG_LEVEL=%q: want debug, info, warn or error", text)
		}
	}
	if text := get("SHUTDOWN_TIMEOUT"); text != "" {
		timeout, err := time.ParseDuration(text)
		if err != nil {
			return config, fmt.Errorf("SHUTDOWN_TIMEOUT=%q: want a duration such as 5s", text)
		}
		config.ShutdownTimeout = timeout
	}
	return config, nil
}

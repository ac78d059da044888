package main

import (
	"strings"
	"testing"
	"time"
)

func load(env map[string]string) (Config, error) {
	return LoadConfig(func(name string) string { return env[name] })
}

func TestDefaults(t *testing.T) {
	config, err := load(nil)
	if err != nil || config.Addr != ":8080" || config.LogLevel != "info" || config.ShutdownTimeout != 5*time.Second {
		t.Fatalf("got %+v, %v", config, err)
	}
}

func TestEverythingCanBeSet(t *testing.T) {
	config, err := load(map[string]string{"PORT": "9000", "LOG_LEVEL": "debug", "SHUTDOWN_TIMEOUT": "1m", "GREETING": "hello"})
	want := Config{Addr: ":9000", LogLevel: "debug", ShutdownTimeout: time.Minute, Greeting: "hello"}
	if err != nil || config != want {
		t.Fatalf("got %+v, %v", config, err)
	}
}

func TestNonsenseIsRefusedByName(t *testing.T) {
	for name, value := range map[string]string{"PORT": "70000", "LOG_LEVEL": "loud", "SHUTDOWN_TIMEOUT": "soon"} {
		_, err := load(map[string]string{name: value})
		if err == nil || !strings.Contains(err.Error(), name+"=") {
			t.Errorf("%s=%s: got %v", name, value, err)
		}
	}
}

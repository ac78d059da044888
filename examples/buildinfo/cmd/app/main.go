// Command app tells what it was built from, and is configured by its environment alone.
//
//	app print   the build information and the configuration on standard output
//	app         the same as JSON, served over HTTP
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

// version is stamped by the linker: -ldflags "-X main.version=1.2.3".
var version = "unstamped"

// Info is what the program knows about itself.
type Info struct {
	Version  string            `json:"version"`
	Go       string            `json:"go"`
	Path     string            `json:"path"`
	Settings map[string]string `json:"settings"`
	UID      int               `json:"uid"`
	GID      int               `json:"gid"`
}

func readInfo() Info {
	info := Info{Version: version, Settings: map[string]string{}, UID: os.Getuid(), GID: os.Getgid()}
	if build, ok := debug.ReadBuildInfo(); ok {
		info.Go, info.Path = build.GoVersion, build.Path
		for _, setting := range build.Settings {
			info.Settings[setting.Key] = setting.Value
		}
	}
	return info
}

func main() {
	config, err := LoadConfig(os.Getenv)
	if err != nil {
		log.Fatalf("configuration: %v", err)
	}
	if len(os.Args) > 1 && os.Args[1] == "print" {
		printAll(readInfo(), config)
		return
	}
	if err := serve(config); err != nil {
		log.Fatal(err)
	}
}

func printAll(info Info, config Config) {
	fmt.Printf("version     %s\n", info.Version)
	fmt.Printf("go          %s\n", info.Go)
	fmt.Printf("package     %s\n", info.Path)
	fmt.Printf("user        %d:%d\n", info.UID, info.GID)
	for _, key := range []string{"CGO_ENABLED", "GOOS", "GOARCH", "-ldflags"} {
		if value, ok := info.Settings[key]; ok {
			fmt.Printf("%-11s %s\n", key, value)
		}
	}
	fmt.Printf("config      %+v\n", config)
}

// serve answers until it is told to stop, and then lets running requests finish.
func serve(config Config) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		answer := json.NewEncoder(w)
		answer.SetIndent("", "  ")
		_ = answer.Encode(struct {
			Info   Info   `json:"info"`
			Config Config `json:"config"`
		}{readInfo(), config})
	})
	server := &http.Server{Addr: config.Addr, Handler: mux}

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	drained := make(chan error, 1)
	go func() {
		<-ctx.Done()
		timeout, cancel := context.WithTimeout(context.Background(), config.ShutdownTimeout)
		defer cancel()
		drained <- server.Shutdown(timeout)
	}()

	log.Printf("version %s listens on %s", version, config.Addr)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-drained
}

package main

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestMain lets the test binary play the program: Go reads the trusted certificates once per process, so each case
// needs a process of its own.
func TestMain(m *testing.M) {
	if url := os.Getenv("REQUEST_FROM_TEST"); url != "" {
		text, code := request(url)
		os.Stdout.WriteString(text)
		os.Exit(code)
	}
	os.Exit(m.Run())
}

func run(t *testing.T, url, bundle string) (string, int) {
	t.Helper()
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), "REQUEST_FROM_TEST="+url, "SSL_CERT_FILE="+bundle, "SSL_CERT_DIR="+t.TempDir())
	out, _ := command.Output()
	return string(out), command.ProcessState.ExitCode()
}

func TestTrust(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("hello")) }))
	defer server.Close()
	folder := t.TempDir()
	trusting, empty := filepath.Join(folder, "ca.crt"), filepath.Join(folder, "empty.crt")
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(trusting, ca, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(empty, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	otherName := strings.Replace(server.URL, "127.0.0.1", "localhost", 1)

	for _, c := range []struct {
		name, url, bundle, says string
		code                    int
	}{
		{"trusted", server.URL, trusting, "5 bytes, certificate trusted", 0},
		{"no certificates at all", server.URL, empty, "there are no CA certificates in this image", exitNoRoots},
		{"another name", otherName, trusting, "belongs to another name", exitUntrusted},
		{"nobody there", "https://127.0.0.1:1/", trusting, "before any certificate", exitOther},
	} {
		text, code := run(t, c.url, c.bundle)
		if code != c.code || !strings.Contains(text, c.says) {
			t.Errorf("%s: exit code %d, said %q", c.name, code, text)
		}
	}
}

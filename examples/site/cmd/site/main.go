// Command site serves the files that are built into it. It calls C, so with CGO_ENABLED=1 and no further flags the
// linker makes a program that needs the C library of the image it was built in.
package main

/*
#include <stddef.h>
#include <stdint.h>

// FNV-1a, the shortest hash that is good enough for an ETag.
static uint64_t fnv1a(const unsigned char *bytes, size_t length) {
	uint64_t hash = 0xcbf29ce484222325u;
	for (size_t i = 0; i < length; i++) {
		hash = (hash ^ bytes[i]) * 0x100000001b3u;
	}
	return hash;
}
*/
import "C"

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"mime"
	"net/http"
	"os"
	"path"
	"strings"
	"unsafe"
)

//go:embed static
var files embed.FS

// etag asks C for the hash of a file.
func etag(content []byte) string {
	if len(content) == 0 {
		return `"0"`
	}
	hash := C.fnv1a((*C.uchar)(unsafe.Pointer(&content[0])), C.size_t(len(content)))
	return fmt.Sprintf(`"%016x"`, uint64(hash))
}

func serve(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(path.Clean(r.URL.Path), "/")
	if name == "" {
		name = "index.html"
	}
	content, err := files.ReadFile("static/" + name)
	if errors.Is(err, fs.ErrNotExist) {
		http.NotFound(w, r)
		return
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	tag := etag(content)
	w.Header().Set("ETag", tag)
	w.Header().Set("Content-Type", mime.TypeByExtension(path.Ext(name)))
	if r.Header.Get("If-None-Match") == tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	_, _ = w.Write(content)
}

func main() {
	address := ":4242"
	if port := os.Getenv("PORT"); port != "" {
		address = ":" + port
	}
	http.HandleFunc("/", serve)
	log.Printf("site listens on %s", address)
	log.Fatal(http.ListenAndServe(address, nil))
}

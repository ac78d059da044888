// Command videos lists the videos of videos.json: on :8080 at /videos and /videos/{id}, or, called as "videos list",
// on standard output.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
)

// Video is one entry of the list.
type Video struct {
	ID      string `json:"id"`
	Title   string `json:"title"`
	Minutes int    `json:"minutes"`
}

func load(file string) ([]Video, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var videos []Video
	if err := json.Unmarshal(text, &videos); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return videos, nil
}

func answer(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value)
}

func main() {
	videos, err := load("videos.json")
	if err != nil {
		log.Fatal(err)
	}
	if len(os.Args) > 1 && os.Args[1] == "list" {
		for _, video := range videos {
			fmt.Printf("%s  %3d min  %s\n", video.ID, video.Minutes, video.Title)
		}
		return
	}
	http.HandleFunc("GET /videos", func(w http.ResponseWriter, _ *http.Request) { answer(w, videos) })
	http.HandleFunc("GET /videos/{id}", func(w http.ResponseWriter, r *http.Request) {
		for _, video := range videos {
			if video.ID == r.PathValue("id") {
				answer(w, video)
				return
			}
		}
		http.NotFound(w, r)
	})
	log.Print("videos listens on :8080")
	log.Fatal(http.ListenAndServe(":8080", nil))
}

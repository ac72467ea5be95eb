// Checklog recomputes the tree of a log from its exported entries with Go's own transparency log,
// golang.org/x/mod/sumdb/tlog, and compares every exported tile and every signed root with it.
//
//	checklog FOLDER
//
// FOLDER is a bundle that begins with the log's first entry, unpacked. The program prints how much
// it compared, and fails where anything differs.
package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// height is that of C2SP's tiles: 2^8 hashes in a full one.
const height = 8

// hashes are all stored hashes of a log, in the order that tlog gives them.
type hashes []tlog.Hash

func (h hashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	found := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		if index >= int64(len(h)) {
			return nil, fmt.Errorf("there is no hash %d yet", index)
		}
		found[i] = h[index]
	}
	return found, nil
}

// path names a tile as C2SP does: without the height, which is always the same.
func path(tile tlog.Tile) string {
	return strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/", height), "tile/", 1)
}

// entries reads one bundle of entries: each stands after its length in two bytes.
func entries(data []byte) ([][]byte, error) {
	var found [][]byte
	for len(data) > 0 {
		if len(data) < 2 || len(data) < 2+int(data[0])<<8+int(data[1]) {
			return nil, fmt.Errorf("an entry is cut short")
		}
		end := 2 + int(data[0])<<8 + int(data[1])
		found = append(found, data[2:end])
		data = data[end:]
	}
	return found, nil
}

// signed reads size and root of each checkpoint, in the order of their sizes.
func signed(folder string) (map[int64]tlog.Hash, []int64, error) {
	files, err := filepath.Glob(filepath.Join(folder, "checkpoints", "*"))
	if err != nil {
		return nil, nil, err
	}
	roots, sizes := map[int64]tlog.Hash{}, []int64{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, nil, err
		}
		lines := strings.Split(string(data), "\n")
		size, err := strconv.ParseInt(lines[1], 10, 64)
		if err != nil {
			return nil, nil, err
		}
		root, err := base64.StdEncoding.DecodeString(lines[2])
		if err != nil || len(root) != tlog.HashSize {
			return nil, nil, fmt.Errorf("%s has no root", file)
		}
		var hash tlog.Hash
		copy(hash[:], root)
		roots[size], sizes = hash, append(sizes, size)
	}
	sort.Slice(sizes, func(i, j int) bool { return sizes[i] < sizes[j] })
	return roots, sizes, nil
}

func check(folder string) error {
	roots, sizes, err := signed(folder)
	if err != nil {
		return err
	}
	if len(sizes) == 0 {
		return fmt.Errorf("the folder has no checkpoints")
	}
	end := sizes[len(sizes)-1]
	var store hashes
	var next int64
	for next < end {
		width := end - next
		if width > 1<<height {
			width = 1 << height
		}
		tile := tlog.Tile{H: height, L: -1, N: next >> height, W: int(width)}
		name := strings.Replace(path(tile), "tile/data/", "tile/entries/", 1)
		data, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			return err
		}
		some, err := entries(data)
		if err != nil || int64(len(some)) != width {
			return fmt.Errorf("%s has %d entries: %v", name, len(some), err)
		}
		for _, entry := range some {
			fresh, err := tlog.StoredHashes(next, entry, store)
			if err != nil {
				return err
			}
			store = append(store, fresh...)
			next++
			if root, ok := roots[next]; ok {
				own, err := tlog.TreeHash(next, store)
				if err != nil {
					return err
				}
				if own != root {
					return fmt.Errorf("the log has signed another tree of %d entries", next)
				}
			}
		}
	}
	compared := 0
	for _, tile := range tlog.NewTiles(height, 0, end) {
		// It names each width that a tile has had on its way; what is exported has the last one.
		last := end>>(uint(tile.L)*height) - tile.N<<height
		if tile.W < 1<<height && int64(tile.W) < last {
			continue
		}
		theirs, err := os.ReadFile(filepath.Join(folder, path(tile)))
		if err != nil {
			return err
		}
		own, err := tlog.ReadTileData(tile, store)
		if err != nil {
			return err
		}
		if !bytes.Equal(own, theirs) {
			return fmt.Errorf("%s is another tile", path(tile))
		}
		compared++
	}
	fmt.Printf("%d entries, %d tiles, %d roots\n", end, compared, len(sizes))
	return nil
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: checklog FOLDER")
	}
	if err := check(os.Args[1]); err != nil {
		log.Fatalf("checklog: %v", err)
	}
}

package prepare

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestFind has every known pair of names, in the places where datasets have them.
func TestFind(t *testing.T) {
	for _, c := range []struct {
		files string   // a pattern
		want  []string // input target of every dataset
	}{
		{"{input,target}/1.png", []string{"input target"}},
		{"{blur,sharp}/1.png", []string{"blur sharp"}},
		{"{blurry,sharp}/1.png", []string{"blurry sharp"}},
		{"{lq,gt}/1.png", []string{"lq gt"}},
		{"{LQ,GT}/1.png", []string{"LQ GT"}},
		{"{Input,TARGET}/1.png", []string{"Input TARGET"}},
		{"{input_crops,target_crops}/1.png", []string{"input_crops target_crops"}},
		{"{blur_crops,sharp_crops}/1.png", []string{"blur_crops sharp_crops"}},
		{"{train,test}/{input,target}/1.png", []string{"test/input test/target", "train/input train/target"}},
		{"crop/{train,val}/{input_crops,target_crops}/1.png", []string{
			"crop/train/input_crops crop/train/target_crops", "crop/val/input_crops crop/val/target_crops",
		}},
		{"test/{HIDE,RealBlur_J}/{input,target}/1.png", []string{"test/HIDE/input test/HIDE/target", "test/RealBlur_J/input test/RealBlur_J/target"}},
		{"GOPRO_Large/train/{GOPR1,GOPR2}/{blur,blur_gamma,sharp}/1.png", []string{"GOPRO_Large/train/*/blur GOPRO_Large/train/*/sharp"}},
		{"{blur,sharp}/{a,b}/1.png", []string{"blur sharp"}},
		{"input/1.png", nil},
		{"x/.hidden/{input,target}/1.png", nil},
	} {
		t.Run(c.files, func(t *testing.T) {
			dir := tree(t, 2, 2, c.files)
			found, err := Find(dir)
			if c.want == nil {
				require.ErrorContains(t, err, dir+" holds no pair of folders called input and target, blur and sharp,")
				return
			}
			require.NoError(t, err)
			var got []string
			for _, f := range found {
				input, _ := filepath.Rel(dir, f.Input())
				target, _ := filepath.Rel(dir, f.Target())
				got = append(got, filepath.ToSlash(input)+" "+filepath.ToSlash(target))
			}
			require.Equal(t, c.want, got)
		})
	}
}

func TestFindErrors(t *testing.T) {
	dir := tree(t, 2, 2, "{input,target,lq,gt}/1.png")
	_, err := Find(dir)
	require.EqualError(t, err, dir+" holds both input and target, and lq and gt: move one pair elsewhere")
	_, err = Find(filepath.Join(dir, "none"))
	require.EqualError(t, err, filepath.Join(dir, "none")+": there is no such folder")
	_, err = Find(filepath.Join(dir, "lq", "1.png"))
	require.ErrorContains(t, err, "is a file: give a folder")
}

func TestFindFollowsLinks(t *testing.T) {
	dir := tree(t, 2, 2, "elsewhere/{a,b}/1.png")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "set", "train"), 0o777))
	for link, to := range map[string]string{"train/input": "../../elsewhere/a", "train/target": "../../elsewhere/b", "round": "..", "nowhere": "none"} {
		if err := os.Symlink(to, filepath.Join(dir, "set", link)); err != nil {
			t.Skip("no links here:", err)
		}
	}
	found, err := Find(filepath.Join(dir, "set"))
	require.NoError(t, err)
	require.Len(t, found, 1)
	pairs, problems, _, err := found[0].pairs()
	require.NoError(t, err)
	require.Empty(t, problems)
	require.Len(t, pairs, 1)
}

func TestPairs(t *testing.T) {
	dir := tree(t, 2, 2,
		"set/{s1,s2}/{blur,sharp}/{1,2}.png",      // two scenes
		"set/s2/blur/3.png",                       // no partner
		"set/s3/sharp/1.png",                      // a scene of one side
		"set/s4/blurred/{1,2}.png",                // a scene of strange names
		"set/s1/blur/2.bmp",                       // 2 again
		"set/s2/blur/X.png", "set/s2/sharp/x.png", // nearly a pair
		"set/s5/{blur,sharp}/sub/1.png", // a subfolder
	)
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "set", "__MACOSX"), 0o777))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "set/s1/blur/notes.txt"), nil, 0o666))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "set/s1/blur/._1.png"), nil, 0o666))
	f, ok, err := at(filepath.Join(dir, "set"))
	require.NoError(t, err)
	require.True(t, ok)
	pairs, problems, _, err := f.pairs()
	require.NoError(t, err)
	var names []string
	for _, p := range pairs {
		names = append(names, p.name)
	}
	require.Equal(t, "s1-1 s1-2 s2-1 s2-2 s5-sub-1", strings.Join(names, " "))
	set := filepath.Join(dir, "set") + "/"
	require.Equal(t, pair{"s2-1", set + "s2/blur/1.png", set + "s2/sharp/1.png"}, pairs[2])
	require.ElementsMatch(t, []string{
		"name: " + set + "s1/blur/2.bmp and " + set + "s1/blur/2.png",
		"missing: " + set + "s2/blur/3.png has no partner in " + set + "*/sharp",
		"missing: " + set + "s3/sharp/1.png has no partner in " + set + "*/blur",
		"missing: " + set + "s4 has 2 photos, but neither blur nor sharp",
		"case: " + set + "s2/blur/X.png, " + set + "s2/sharp/x.png",
	}, messages(problems))
}

func TestNoPhotos(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"input", "target"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o777))
	}
	f, ok, err := at(dir)
	require.NoError(t, err)
	require.True(t, ok)
	_, _, _, err = f.pairs()
	require.ErrorContains(t, err, "hold no photo")
	_, _, _, err = TwoFolders(filepath.Join(dir, "input"), filepath.Join(dir, "none")).pairs()
	require.EqualError(t, err, filepath.Join(dir, "none")+": there is no such folder")
}
